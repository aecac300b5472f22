//! The limits of the spill directory, as flags.

use std::{path::PathBuf, time::Duration};

use mesh_model::flags::{self, ByteSize};

use super::log::Limits;

/// Location and limits of the spill directory, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct SpillArgs {
    /// Directory for batches that have been pending for some time, so that they survive a
    /// restart.
    /// Without it they stay in memory.
    #[arg(long = "outbox.spill-dir", env = "PROMESH_OUTBOX_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,

    /// Maximum size of the spill directory.
    #[arg(
        long = "outbox.spill-max-bytes",
        env = "PROMESH_OUTBOX_SPILL_MAX_BYTES",
        value_name = "SIZE",
        default_value = "4GiB"
    )]
    pub spill_max_bytes: ByteSize,

    /// Time after which a pending batch is spilled or, without a spill directory,
    /// compressed. With 0, each batch is written at once: a killed process then loses only
    /// the scrapes that were in progress.
    #[arg(
        long = "outbox.spill-after",
        env = "PROMESH_OUTBOX_SPILL_AFTER",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "3s"
    )]
    pub spill_after: Duration,

    /// Maximum size of one file in the spill directory. A file is removed when all its
    /// batches are delivered.
    #[arg(
        long = "outbox.spill-segment-bytes",
        env = "PROMESH_OUTBOX_SPILL_SEGMENT_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub spill_segment_bytes: ByteSize,
}

// === impl SpillArgs ===

impl SpillArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            segment: self.spill_segment_bytes.bytes(),
            total: self.spill_max_bytes.bytes(),
        }
    }
}
