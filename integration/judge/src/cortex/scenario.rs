//! Scenarios of a mesh in front of a Cortex, and what each permits.

use clap::ValueEnum;

use crate::audit::CounterScope;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// No failure for a minute, which is longer than the 30 s of an election.
    Healthy,
    /// SIGKILL of both exporters, which restart at once.
    KillExporters,
    /// SIGKILL of a receiver of the elected group, which restarts.
    KillReceiver,
    /// SIGKILL of all receivers of the elected group, for longer than 30 s.
    KillGroup,
    /// Cortex that is stopped for a minute and restarted.
    Restart,
    /// SIGKILL of Cortex, which restarts at once.
    KillCortex,
    /// Cortex that is stopped (SIGSTOP) for 20 s: it accepts connections and does not
    /// respond.
    Freeze,
    /// Cortex that accepts less than half of the samples for 20 s, and answers 429.
    RateLimit,
    /// Cortex that accepts no new series.
    SeriesLimit,
}

/// Limit that is below the number of series of the mesh.
const MAX_SERIES: usize = 100;

// === impl Scenario ===

impl Scenario {
    /// All scenarios.
    pub(super) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Name on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Maximum number of series of the tenant. `None` for no limit.
    pub(super) fn max_series(self) -> Option<usize> {
        (self == Self::SeriesLimit).then_some(MAX_SERIES)
    }

    /// Permitted number of elections, including the first.
    pub(super) fn elections(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::KillGroup => 2..=2,
            // A restarted Cortex does not know who was elected. After an outage of 30 s
            // nobody is.
            Self::Restart | Self::KillCortex => 1..=2,
            _ => 1..=1,
        }
    }

    /// Start of the counters of the Cortex that runs at the end.
    pub(super) fn counter_scope(self) -> CounterScope {
        match self {
            Self::Restart | Self::KillCortex => CounterScope::SinceRestart,
            _ => CounterScope::SinceStart,
        }
    }
}
