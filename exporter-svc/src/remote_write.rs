//! Remote write: from the request parts of many Exports to the responses of the
//! backend.
//!
//! ```text
//! Export ─▶ RequestPart ─▶ queue ─▶ request ─▶ client ─▶ backend
//!                ▲                    │  one at a time per series
//!                └─── PartOutcome ◀───┘
//! ```
//!
//! [`table`] says what becomes of a request for each answer of the backend, and [`delivery`]
//! does it. This module does not retry a part that the backend did not store. It reports the
//! failure to the sender, which still has the data and retries it.

use std::time::Duration;

use mesh_contract::verdict::Verdict;

use self::delivery::Decided;

pub mod attribution;
pub mod batcher;
pub mod client;
pub mod compress;
pub mod concurrency;
pub mod delivery;
pub mod encode;
pub mod health;
pub mod knowledge;
pub mod metadata;
pub mod metrics;
pub mod part;
pub mod queue;
pub mod response;
pub mod search;
pub mod table;

/// Outcome of one request part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartOutcome {
    /// The backend stored the part.
    Stored,
    /// The backend dropped the part as another replica's copy.
    Deduplicated,
    /// The backend permanently rejected some samples and stored the rest.
    Rejected(Verdict),
    /// The part was not stored; its sender has to retry it.
    Retry(Retry),
    /// The first series of the part are decided; its sender has to retry the others.
    Undecided {
        /// Reason and delay of the retry.
        retry: Retry,
        /// Decided series.
        decided: Decided,
    },
}

/// Reason and delay of a retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Cause that the sender receives as a status code.
    pub cause: RetryCause,
    /// Minimum delay before the retry.
    pub after: Duration,
    /// True if nothing of the part is in flight any more.
    pub settled: bool,
    /// True if the backend responds, but needs about as long as the sender's timeout.
    pub slow: bool,
    /// Message for logs and for the sender.
    pub message: String,
}

/// Cause that prevented the delivery of a part, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryCause {
    /// The backend fails or is unreachable.
    Unavailable,
    /// The backend throttles, or this process is out of memory budget.
    Exhausted,
    /// The deadline passed while the request was in flight.
    DeadlineExceeded,
}
