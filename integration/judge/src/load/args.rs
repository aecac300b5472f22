//! Flags of `load`, and the sizes that follow from them.

use std::time::Duration;

use mesh_model::flags;

use super::{
    exposition::{self, Exposition},
    kills::KillSchedule,
};

/// Flags of `load`.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Scraped samples per second, on average.
    #[arg(long, default_value_t = 100_000)]
    pub(super) rate: usize,

    /// Duration of the run. It begins when every target has been scraped once.
    #[arg(long, default_value = "30m", value_parser = flags::seconds)]
    pub(super) duration: Duration,

    /// Scrape interval.
    #[arg(long, default_value = "15s", value_parser = flags::seconds)]
    pub(super) interval: Duration,

    /// Mean time between two kills (SIGKILL); 0s for none.
    #[arg(long, default_value = "60s", value_parser = flags::seconds)]
    pub(super) kill_every: Duration,

    /// Seed of all random choices: victims, times and faults of the backend.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,

    /// Maximum number of series of a target.
    #[arg(long, default_value_t = 25_000)]
    pub(super) max_series: usize,

    /// Number of receivers, which share the targets.
    #[arg(long, default_value_t = 3)]
    pub(super) receivers: usize,

    /// Number of exporters.
    #[arg(long, default_value_t = 3)]
    pub(super) exporters: usize,

    /// Age at which receivers write batches to disk; 0s for at once.
    #[arg(long, default_value = "0s", value_parser = flags::seconds)]
    pub(super) spill_after: Duration,

    /// Run receivers without a disk. A killed receiver loses its pending batches.
    #[arg(long, conflicts_with = "spill_after")]
    pub(super) no_spill: bool,

    /// Report delays, but do not fail for them. For busy machines.
    #[arg(long)]
    pub(super) any_pace: bool,
}

/// Additional share of series, for samples that kills and the rounding to whole blocks cost.
const MARGIN: f64 = 0.005;

// === impl LoadArgs ===

impl LoadArgs {
    /// Number of targets.
    pub(super) fn targets(&self) -> usize {
        self.all_series()
            .div_ceil(self.max_series)
            .max(self.receivers)
    }

    /// Number of series of each target.
    pub(super) fn series(&self) -> usize {
        let series = self.all_series().div_ceil(self.targets());
        series.next_multiple_of(exposition::BLOCK)
    }

    /// Number of samples in a scrape, including the reports.
    pub(super) fn samples(&self) -> usize {
        Exposition::new(self.series()).samples()
    }

    /// Number of series of all targets. It makes up for the slots that killed receivers
    /// miss.
    pub(super) fn all_series(&self) -> usize {
        let spare = 1.0 + self.schedule().missed_share() + MARGIN;
        (self.rate as f64 * spare * self.interval.as_secs_f64()) as usize
    }

    pub(super) fn schedule(&self) -> KillSchedule {
        KillSchedule {
            seed: self.seed,
            every: self.kill_every,
            until: self.duration,
            receivers: self.receivers,
            exporters: self.exporters,
        }
    }

    /// Age at which a receiver spills a batch. `None` if it has no disk.
    pub(super) fn spill_after(&self) -> Option<Duration> {
        (!self.no_spill).then_some(self.spill_after)
    }
}
