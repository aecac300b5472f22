//! The contract between senders and exporters: batches, exports, verdicts, HA labels.
//!
//! A receiver or a gateway sends an [`export::Export`] of [`batch::Batch`]es and gets a
//! [`verdict::Verdict`] back. Both sides depend on this crate and on nothing of each other.

pub mod batch;
pub mod export;
pub mod ha;
pub mod verdict;
