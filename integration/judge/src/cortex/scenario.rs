//! What happens to a mesh before a Cortex, and what may come of it.

use std::time::Duration;

use clap::ValueEnum;

use super::{audit::Counters, stage::Stage};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Nothing, for a minute: longer than an election's 30 s.
    Healthy,
    /// SIGKILL of both exporters, which come back at once.
    KillExporters,
    /// SIGKILL of a receiver of the elected group, which comes back.
    KillReceiver,
    /// SIGKILL of all receivers of the elected group, for longer than 30 s.
    KillGroup,
    /// Cortex is stopped, away for a minute and started again.
    Restart,
    /// SIGKILL of Cortex, which is started again at once.
    KillCortex,
    /// Cortex stands still for 20 s: it takes requests and answers none.
    Freeze,
    /// Cortex takes less than half of what comes for 20 s, with its own 429.
    RateLimit,
    /// Cortex takes no more series than it has.
    SeriesLimit,
}

/// Longer than the election of another replica takes.
const ELECTION: Duration = Duration::from_secs(45);
const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(20);
/// Fewer series than the mesh has.
const MAX_SERIES: usize = 100;
/// Samples a second, and at once, of which a request has more.
const SLOW: &str = "{ingestion_rate: 100, ingestion_burst_size: 300}";

// === impl Scenario ===

impl Scenario {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name, as it is given on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Series that the tenant may have, where that is less than there are.
    pub(super) fn max_series(self) -> Option<usize> {
        (self == Self::SeriesLimit).then_some(MAX_SERIES)
    }

    /// Elections there may be, the first included.
    pub(super) fn elections(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Self::KillGroup => 2..=2,
            // It forgets who was elected, as does everybody who is away for 30 s.
            Self::Restart | Self::KillCortex => 1..=2,
            _ => 1..=1,
        }
    }

    /// How long the Cortex that is asked at the end has counted for.
    pub(super) fn counters(self) -> Counters {
        match self {
            Self::Restart | Self::KillCortex => Counters::Part,
            _ => Counters::Whole,
        }
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// Where a part does not start or stop.
    pub(super) async fn play(self, stage: &mut Stage) -> anyhow::Result<()> {
        match self {
            Self::Healthy | Self::SeriesLimit => stage.go_on(MINUTE).await,
            Self::KillExporters => {
                for exporter in &mut stage.mesh.exporters {
                    exporter.kill().await?;
                }
                for exporter in &mut stage.mesh.exporters {
                    exporter.restart().await?;
                }
                Ok(())
            }
            Self::KillReceiver => {
                let group = stage.elected()?;
                stage.kill_receivers(&group, 1).await?;
                stage.go_on(SHORT / 2).await?;
                stage.restart_receivers().await
            }
            Self::KillGroup => {
                let group = stage.elected()?;
                stage.kill_receivers(&group, 2).await?;
                stage.go_on(ELECTION).await?;
                stage.restart_receivers().await?;
                stage.go_on(ELECTION).await
            }
            Self::Restart => {
                stage.cortex.stop().await?;
                stage.go_on(MINUTE).await?;
                stage.cortex.restart().await
            }
            Self::KillCortex => {
                stage.cortex.kill().await?;
                stage.cortex.restart().await
            }
            Self::Freeze => {
                stage.cortex.freeze(true).await?;
                stage.go_on(SHORT).await?;
                stage.cortex.freeze(false).await
            }
            Self::RateLimit => {
                stage.cortex.limit(SLOW)?;
                stage.go_on(SHORT).await?;
                stage.cortex.limit("{}")
            }
        }
    }
}
