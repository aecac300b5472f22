//! The limits of the spill directory, as flags.

use std::{path::PathBuf, time::Duration};

use super::log::Limits;

/// Location and limits of the spill directory, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct SpillArgs {
    /// Directory for batches that are pending for long, so that they survive a restart.
    /// Without it they stay in memory.
    #[arg(long = "outbox.spill-dir", env = "PROMESH_OUTBOX_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,

    /// Maximum bytes in the spill directory.
    #[arg(
        long = "outbox.spill-max-bytes",
        env = "PROMESH_OUTBOX_SPILL_MAX_BYTES",
        default_value_t = 4 << 30
    )]
    pub spill_max_bytes: u64,

    /// Seconds after which a pending batch is spilled, or compressed without a spill
    /// directory. With 0, each batch is written at once: a killed process then loses only
    /// the scrapes that were in progress.
    #[arg(
        long = "outbox.spill-after",
        env = "PROMESH_OUTBOX_SPILL_AFTER",
        default_value_t = 3
    )]
    pub spill_after_seconds: u64,

    /// Maximum bytes of one file in the spill directory. A file is removed when all its
    /// batches are delivered.
    #[arg(
        long = "outbox.spill-segment-bytes",
        env = "PROMESH_OUTBOX_SPILL_SEGMENT_BYTES",
        default_value_t = 64 << 20
    )]
    pub spill_segment_bytes: u64,
}

// === impl SpillArgs ===

impl SpillArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            segment: self.spill_segment_bytes,
            total: self.spill_max_bytes,
        }
    }

    pub(crate) fn after(&self) -> Duration {
        Duration::from_secs(self.spill_after_seconds)
    }
}
