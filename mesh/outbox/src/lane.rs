//! A lane: a FIFO of the batches of one key for one destination.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use mesh_base::backoff::Backoff;
use mesh_contract::export::Progress;

use crate::args::MAX_EXPORT_TIMEOUT;

/// The batches of one key for one destination. At most its first batch is in flight.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Sequence numbers of the batches, in the order of the pushes.
    pub(crate) seqs: VecDeque<u64>,
    /// `true` while the first batch is in flight.
    pub(crate) is_in_flight: bool,
    /// Attempts at the first batch so far, if there were any.
    pub(crate) attempts: Option<Box<Attempts>>,
    /// Time of the next Export at the earliest. An earlier one may still be in flight.
    pub(crate) not_before: Option<Instant>,
    pub(crate) timeout: ExportTimeout,
    /// Batches that have left the lane while the log on disk still lists them as pending, each
    /// with its time. If a later batch were delivered now, the next process would send them
    /// out of order.
    unacked: Vec<(u64, i64)>,
    /// Time when the first unacked batch left.
    unacked_since: Option<Instant>,
    /// List of the route that the lane stands in.
    pub(crate) place: Place,
}

/// Attempts at one batch.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) backoff: Backoff,
    /// Progress that the exporters have reported.
    pub(crate) progress: Progress,
    /// `true` if the batch must not share a request: with others it was too large, or an
    /// exporter died of one of them.
    pub(crate) is_alone: bool,
    /// Number of exporters that died while they had this batch alone. After the first one the
    /// batch is a suspect, and the outbox has one suspect in flight at a time.
    pub(crate) deaths: u32,
}

/// Timeout of the Exports of a lane. It grows while the backend is slow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExportTimeout {
    /// Current timeout; `None` for the initial one.
    current: Option<Duration>,
    /// Number of consecutive Exports that a running exporter did not respond to.
    silent: u32,
}

/// List of a route that a lane stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no list: the lane is empty or in flight.
    #[default]
    None,
    /// The first batch can be sent.
    Ready(ReadyBatch),
    /// The next Export may leave at this time.
    Blocked(Instant),
    /// The first batch can be sent while no other suspect is in flight.
    Suspect(u64),
    /// The first batch is held back, or waits for an Export to all destinations.
    Held,
}

/// First batch of a lane that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadyBatch {
    pub(crate) seq: u64,
    pub(crate) bytes: usize,
    pub(crate) is_awaited: bool,
    /// `true` if the batch must not share a request.
    pub(crate) is_alone: bool,
    /// `true` if more batches of the key are pending.
    pub(crate) is_backlog: bool,
}

/// Maximum time that a lane waits until done batches are recorded on disk. A disk that
/// hangs must not stop batches in memory.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Lane ===

impl Lane {
    /// Time before which nothing may be sent, if that is later than `now`.
    pub(crate) fn blocked_until(&self, now: Instant) -> Option<Instant> {
        let ack_timeout = self.unacked_since.map(|since| since + ACK_TIMEOUT);
        self.not_before
            .max(ack_timeout)
            .filter(|until| *until > now)
    }

    /// Returns true if the lane has no batch and nothing to remember.
    pub(crate) fn is_unused(&self, now: Instant) -> bool {
        self.seqs.is_empty() && self.unacked.is_empty() && self.blocked_until(now).is_none()
    }

    /// Returns true if a batch is in flight.
    pub(crate) fn has_in_flight(&self, seq: u64) -> bool {
        self.is_in_flight && self.seqs.front() == Some(&seq)
    }

    /// Returns true if there has been an attempt at a batch.
    pub(crate) fn has_attempted(&self, seq: u64) -> bool {
        (self.attempts.is_some() || self.is_in_flight) && self.seqs.front() == Some(&seq)
    }

    /// Times of the batches that the next process may send again, unless the disk hangs.
    pub(crate) fn unacked_times(&self) -> impl Iterator<Item = i64> {
        let since = self.unacked_since;
        let is_waited_for = since.is_some_and(|since| since.elapsed() < ACK_TIMEOUT);
        let unacked = self.unacked.iter().filter(move |_| is_waited_for);
        unacked.map(|(_, time_ms)| *time_ms)
    }

    /// Removes a batch. `unacked_ms` is its time if it is still pending in the log on disk.
    pub(crate) fn remove(&mut self, seq: u64, unacked_ms: Option<i64>) {
        let Ok(index) = self.seqs.binary_search(&seq) else {
            return;
        };
        self.seqs.remove(index);
        if index == 0 {
            self.attempts = None;
            self.is_in_flight = false;
        }
        if let Some(time_ms) = unacked_ms {
            self.unacked.push((seq, time_ms));
            self.unacked_since.get_or_insert_with(Instant::now);
        }
    }

    /// Removes an unacked batch that is recorded as done, or was never written to disk.
    pub(crate) fn ack(&mut self, seq: u64) {
        self.unacked.retain(|(unacked, _)| *unacked != seq);
        self.unacked_since.take_if(|_| self.unacked.is_empty());
    }
}

// === impl ExportTimeout ===

impl ExportTimeout {
    /// Current timeout, given the initial one.
    pub(crate) fn or(self, base: Duration) -> Duration {
        self.current.unwrap_or(base)
    }

    /// Shrinks the timeout after a success to at least twice the time of the Export.
    pub(crate) fn shrink(&mut self, base: Duration, took: Duration) {
        self.silent = 0;
        let current = self.or(base);
        let mut enough = base;
        while enough < took * 2 && enough < current {
            enough *= 2;
        }
        let shrunk = enough.min(current);
        self.current = (shrunk > base).then_some(shrunk);
    }

    /// Doubles the timeout after a failure if more time helps.
    ///
    /// A longer timeout does not help with a backend that hangs: frequent retries notice
    /// its recovery sooner. Our own exporters always respond before the deadline. A foreign
    /// OTLP server that does not respond twice in a row may be slow.
    pub(crate) fn extend(&mut self, base: Duration, is_slow: bool, is_silent: bool) {
        self.silent = if is_silent { self.silent + 1 } else { 0 };
        if is_slow || self.silent > 1 {
            self.current = Some((self.or(base) * 2).min(MAX_EXPORT_TIMEOUT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_may_be_sent_again_until_it_is_recorded_as_done() {
        let mut lane = Lane {
            seqs: VecDeque::from([7, 8, 9]),
            ..Lane::default()
        };
        let times = |lane: &Lane| lane.unacked_times().collect::<Vec<_>>();
        lane.remove(7, Some(700));
        lane.remove(8, Some(800));
        lane.remove(9, None);
        assert_eq!(times(&lane), [700, 800]);
        lane.ack(7);
        assert_eq!(times(&lane), [800]);
        // The disk hangs.
        tokio::time::advance(ACK_TIMEOUT).await;
        assert_eq!(times(&lane), [0; 0]);
    }
}
