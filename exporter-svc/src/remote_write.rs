//! Remote write: from the pieces of many Exports to the backend's answers.
//!
//! ```text
//! Export ─▶ Piece ─▶ queue ─▶ request ─▶ client ─▶ backend
//!              ▲                 │  one at a time per series
//!              └──── Outcome ◀───┘
//! ```
//!
//! Nothing is sent twice from here and nothing is kept: a piece that could not be
//! delivered goes back to its sender, which has it still.

use std::time::Duration;

use mesh::verdict::Reason;

pub mod attribution;
pub mod client;
pub mod compress;
pub mod destination;
pub mod encode;
pub mod join;
pub mod metadata;
pub mod metrics;
pub mod pace;
pub mod piece;
pub mod probe;
pub mod queue;
pub mod verdict;

/// What became of one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend stored it.
    Stored,
    /// The backend dropped it as another replica's copy.
    Deduplicated,
    /// The backend refused some of it for good and stored the rest.
    Rejected {
        /// Why.
        reason: Reason,
        /// How much of it, in units of the sender's ledger.
        units: u64,
        /// The backend's own words.
        message: String,
    },
    /// It is its sender's again.
    Retry(Retry),
}

/// Why and when a piece may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What the sender is told.
    pub cause: Cause,
    /// How long to wait at least.
    pub after: Duration,
    /// Whether nothing of it is in flight any more.
    pub settled: bool,
    /// Whether the backend answers, and takes about as long as the sender gave.
    pub slow: bool,
    /// What happened, in words.
    pub message: String,
}

/// What kept a piece from being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The backend is unwell or not there.
    Unavailable,
    /// The backend, or this process, takes no more for now.
    Exhausted,
    /// Time ran out while it was on its way.
    DeadlineExceeded,
}
