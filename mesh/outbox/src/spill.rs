//! Spilling: batches that wait for long are kept on the disk.
//!
//! The lanes keep their order in memory; a spilled batch has a [`Place`] in the
//! [`Log`] where it had its payload. So nothing about delivery changes, and the
//! next process finds what this one could not deliver.
//!
//! ```text
//! 0000000000000007.segment   records, appended, never changed
//! 0000000000000007.done      which of them are done with
//! fence                      until when Exports of this process may be under way
//! lock
//! ```
//!
//! The memory of a payload is freed only once the disk has confirmed it. Whatever
//! a file holds after a crash, it is no reason not to start: what is torn or
//! damaged is counted and passed over, what is missing is not missed. A batch that
//! was delivered and not yet noted as done is sent again, byte for byte.

mod disk;
mod log;
mod record;
mod segment;
mod stats;

use std::{path::PathBuf, time::Duration};

pub(super) use disk::{Directory, Disk};
pub(super) use log::{Limits, Log, Replay};
pub(super) use record::Record;
pub(super) use segment::{Place, read};
pub(super) use stats::{Stats, Trouble};

/// Where and how much is spilled, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct SpillArgs {
    /// Directory for batches that wait for long, which survive a restart there.
    /// Without it they wait in memory.
    #[arg(long = "outbox.spill-dir", env = "PROMESH_OUTBOX_SPILL_DIR")]
    pub spill_dir: Option<PathBuf>,

    /// Bytes that the directory may hold.
    #[arg(
        long = "outbox.spill-max-bytes",
        env = "PROMESH_OUTBOX_SPILL_MAX_BYTES",
        default_value_t = 4 << 30
    )]
    pub spill_max_bytes: u64,

    /// Seconds after which a batch that waits is spilled; without a directory,
    /// compressed. With 0 every batch is written as soon as it is there, and a process
    /// that is killed takes no more with it than what it was just scraping.
    #[arg(
        long = "outbox.spill-after",
        env = "PROMESH_OUTBOX_SPILL_AFTER",
        default_value_t = 3
    )]
    pub spill_after_seconds: u64,

    /// Bytes of one file of the directory. It is removed when all of it has been
    /// delivered.
    #[arg(
        long = "outbox.spill-segment-bytes",
        env = "PROMESH_OUTBOX_SPILL_SEGMENT_BYTES",
        default_value_t = 64 << 20
    )]
    pub spill_segment_bytes: u64,
}

// === impl SpillArgs ===

impl SpillArgs {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            segment: self.spill_segment_bytes,
            total: self.spill_max_bytes,
        }
    }

    pub(super) fn after(&self) -> Duration {
        Duration::from_secs(self.spill_after_seconds)
    }
}

#[cfg(test)]
mod tests;
