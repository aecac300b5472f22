//! Facts that receivers report about themselves and about their peers.

use std::time::Duration;

/// One process of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Random number that identifies the process.
    pub(super) id: u64,
    /// Time since the process started, in milliseconds.
    pub(super) age_ms: u64,
    /// Time that peers wait if the process is killed now.
    pub(super) wait: WaitTimes,
}

/// Times that peers wait for a receiver that has stopped answering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WaitTimes {
    /// Time for which its exports may stay in flight, in milliseconds.
    pub(super) export_ms: u64,
    /// Time within which it may return with batches from its disk, in milliseconds. 0 if its
    /// disk holds no batches.
    pub(super) away_ms: u64,
}

/// Report of one receiver about a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerReport {
    /// Time for which the peer has not answered, in milliseconds.
    pub(super) silent_ms: u64,
    /// Wait times that the peer has stated, or assumed ones if it has not.
    pub(super) wait: WaitTimes,
    /// Age of that statement, in milliseconds. `None` if the wait times are assumed.
    pub(super) stated_ms: Option<u64>,
    /// Remaining time for which exports of an earlier process of the peer may be in flight,
    /// in milliseconds.
    pub(super) earlier_exports_ms: u64,
    /// Process of the peer that has announced an empty outbox, if one has.
    pub(super) drained_process: Option<u64>,
    /// `true` if the pod of the peer has been deleted together with its disk.
    pub(super) is_pod_deleted: bool,
}

/// Phases of an orderly shutdown, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShutdownPhase {
    /// The receiver has stopped scraping.
    Stopped,
    /// The receiver has stopped scraping, and its outbox is empty.
    Drained,
}

// === impl WaitTimes ===

impl WaitTimes {
    /// Longest time for which peers wait.
    pub(super) fn total(&self) -> Duration {
        self.exports().max(Duration::from_millis(self.away_ms))
    }

    /// Time for which exports may stay in flight.
    pub(super) fn exports(&self) -> Duration {
        Duration::from_millis(self.export_ms)
    }

    /// Wait times of a receiver whose disk has been deleted if `is_deleted`.
    pub(super) fn after_deletion(self, is_deleted: bool) -> Self {
        if is_deleted {
            Self { away_ms: 0, ..self }
        } else {
            self
        }
    }

    /// Longer one of each of the two times.
    pub(super) fn max(&self, other: &Self) -> Self {
        Self {
            export_ms: self.export_ms.max(other.export_ms),
            away_ms: self.away_ms.max(other.away_ms),
        }
    }
}
