//! The outcome of one batch.

use mesh_contract::verdict::Verdict;

/// Outcome of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend responded with a verdict.
    Verdict(Verdict),
    /// The outbox dropped the batch without a verdict.
    Expired(Expiry),
}

/// Reason why a batch was dropped without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// The batch was pending for longer than the maximum age.
    TooOld,
    /// The outbox was full and the batch was the oldest.
    OutboxFull,
    /// The batch was spilled and cannot be read from the disk.
    Unreadable,
    /// All waiters of the batch were dropped while it was not in flight.
    Withdrawn,
    /// No exporter writes to the destination any more.
    DestinationRemoved,
    /// Several exporters died while they had this batch alone.
    Poison,
}

/// Error of a push into a closed outbox: the service is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is closed because the service is stopping")]
pub struct OutboxClosed;

// === impl Expiry ===

impl Expiry {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::TooOld,
        Self::OutboxFull,
        Self::Unreadable,
        Self::Withdrawn,
        Self::DestinationRemoved,
        Self::Poison,
    ];

    /// Returns the name of the reason in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::OutboxFull => "outbox_full",
            Self::Unreadable => "unreadable",
            Self::Withdrawn => "withdrawn",
            Self::DestinationRemoved => "destination_removed",
            Self::Poison => "poison",
        }
    }
}
