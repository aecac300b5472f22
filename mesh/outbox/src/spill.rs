//! Spilling: moves batches to disk that have been pending for some time.
//!
//! The order of the batches stays in memory. A spilled batch has a [`Location`] in the [`Log`]
//! instead of its payload. So delivery does not change, and the next process replays what
//! this one could not deliver.
//!
//! ```text
//! 0000000000000007.segment   records: appended, never changed
//! 0000000000000007.done      sequence numbers of the records that are done
//! 0000000000000007.partly    records that are done at one of several destinations
//! poison-….otlp              batches that killed exporters, kept for the operator
//! fence                      time until which Exports of this process may be in flight
//! lock
//! ```
//!
//! - The payload is freed only after the disk has confirmed it.
//! - No damage to the files after a crash prevents a start. Torn and corrupt records are
//!   counted and skipped. Missing files are ignored.
//! - A batch that was delivered and not yet recorded as done is sent again, byte for byte.

mod args;
mod disk;
mod log;
mod poison;
mod record;
mod segment;
mod stats;

pub use args::SpillArgs;
pub(crate) use disk::{Directory, Disk};
pub(crate) use log::{Limits, Log, Replay};
pub(crate) use poison::{Poison, keep, poison_name};
pub(crate) use record::Record;
pub(crate) use segment::{Done, Location, read};
pub(crate) use stats::{SpillError, SpillStats};

#[cfg(test)]
mod tests;
