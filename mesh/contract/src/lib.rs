//! Contract between senders and exporters: batches, exports, verdicts, HA labels.
//!
//! A receiver or a gateway sends an [`export::Export`] of one or more [`batch::Batch`]es
//! and receives a [`verdict::Verdict`]. Both sides depend on this crate but not on each
//! other. The metadata keys of an Export, all with the prefix `promesh-`, are read and
//! written here only.

pub mod batch;
pub mod export;
pub mod ha;
pub mod progress;
pub mod report;
pub mod verdict;
pub mod writer;
