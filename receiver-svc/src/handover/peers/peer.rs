//! State of one peer, as this receiver knows it.

use std::time::Duration;

use tokio::time::Instant;

use super::super::gossip::{PeerReport, ShutdownPhase, WaitTimes};

/// Another receiver of the group.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) is_member: bool,
    /// Time at which the peer left the members. For a peer that is not a member: time at which
    /// it was found, or last announced its shutdown phase.
    pub(super) left_at: Instant,
    /// Time of the last message from the peer to this receiver.
    pub(super) last_contact: Option<Instant>,
    /// `true` if that message came after a request that the peer has not answered.
    pub(super) is_slow: bool,
    /// Time of the first request that the peer has not answered.
    pub(super) silent_since: Option<Instant>,
    /// Last process that this receiver has heard from.
    pub(super) process_id: Option<u64>,
    /// Wait times of that process.
    pub(super) wait: WaitTimes,
    /// Time at which the peer stated them, to this receiver or to another one. `None` if they
    /// are assumed.
    pub(super) stated_at: Option<Instant>,
    /// Process of the peer that has drained, as other receivers report.
    pub(super) drained_process: Option<u64>,
    /// Time until which exports of an earlier process may be in flight. That process had ended
    /// when the present one began.
    pub(super) earlier_exports_until: Option<Instant>,
    /// Shutdown phase that the peer has announced.
    pub(super) shutdown: Option<ShutdownPhase>,
    pub(super) pod: Pod,
}

/// State of the pod of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pod {
    /// Never found listed by this receiver, and not reported as deleted.
    Unknown,
    /// Listed by Kubernetes, ready or not.
    Listed,
    /// Listed until this time.
    Unlisted(Instant),
    /// Reported as deleted by other receivers, and never found listed by this one.
    Deleted,
}

/// Maximum time that a receiver may take to answer.
pub(in super::super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for which a pod whose readiness changes may be in neither list.
const LIST_DELAY: Duration = Duration::from_secs(2);

// === impl Peer ===

impl Peer {
    /// Peer that nothing is known of. Its wait times are assumed.
    pub(super) fn new(assumed: WaitTimes) -> Self {
        Self {
            is_member: false,
            left_at: Instant::now(),
            last_contact: None,
            is_slow: false,
            silent_since: None,
            process_id: None,
            wait: assumed,
            stated_at: None,
            drained_process: None,
            earlier_exports_until: None,
            shutdown: None,
            pod: Pod::Unknown,
        }
    }

    /// Updates the state of the pod.
    pub(super) fn update_pod(&mut self, is_listed: bool) {
        self.pod = match self.pod {
            _ if is_listed => Pod::Listed,
            Pod::Listed => Pod::Unlisted(Instant::now()),
            pod => pod,
        };
    }

    /// Returns true if the pod has been deleted together with its disk.
    fn is_pod_deleted(&self) -> bool {
        match self.pod {
            Pod::Unknown | Pod::Listed => false,
            Pod::Unlisted(since) => since.elapsed() >= LIST_DELAY,
            Pod::Deleted => true,
        }
    }

    /// Time to wait for the peer once it does not answer.
    fn wait_time(&self) -> Duration {
        self.wait.after_deletion(self.is_pod_deleted()).total()
    }

    /// Records wait times that the peer stated to another receiver. The latest statement
    /// counts. Of two statements of about the same time the longer wait counts.
    pub(super) fn record_statement(
        &mut self,
        stated_at: Instant,
        wait: WaitTimes,
        drained_process: Option<u64>,
    ) {
        let known = self.stated_at;
        if known.is_none_or(|known| stated_at > known + RESPONSE_TIMEOUT) {
            self.stated_at = Some(stated_at);
            self.wait = wait;
            self.drained_process = drained_process;
        } else if known.is_some_and(|known| stated_at + RESPONSE_TIMEOUT >= known) {
            self.wait = self.wait.max(&wait);
            self.drained_process = self.drained_process.or(drained_process);
        }
    }

    /// Marks a silent peer as drained if other receivers report that its last known process has
    /// drained. If this receiver has never heard from the peer, any reported process counts,
    /// unless the peer is a member.
    pub(super) fn apply_drain_report(&mut self) {
        let is_process = |drained| self.process_id.map_or(!self.is_member, |id| id == drained);
        if self.silent_since.is_some() && self.drained_process.is_some_and(is_process) {
            self.shutdown = Some(ShutdownPhase::Drained);
        }
    }

    /// Time since which no receiver has heard from the peer, as far as this one knows.
    pub(super) fn unheard_since(&self) -> Option<Instant> {
        self.silent_since
            .map(|since| self.stated_at.map_or(since, |stated| stated.max(since)))
    }

    /// Returns true if the peer has not answered for at least this time.
    pub(super) fn is_silent_for(&self, time: Duration) -> bool {
        self.silent_since
            .is_some_and(|since| since.elapsed() >= time)
    }

    /// Returns true if the peer may have exports in flight or deliver more batches.
    ///
    /// `away_timeout` bounds the wait for a peer that is only unreachable from here: other
    /// receivers hear from it, or `may_be_partitioned`.
    pub(super) fn may_deliver(&self, away_timeout: Duration, may_be_partitioned: bool) -> bool {
        let wait = self.wait_time();
        let is_heard = self.stated_at.is_some_and(|at| at.elapsed() < wait);
        let is_awaited = self.silent_since.is_some_and(|since| {
            let silent = since.elapsed();
            silent < wait || silent < away_timeout && (may_be_partitioned || is_heard)
        });
        let has_earlier_exports = self
            .earlier_exports_until
            .is_some_and(|until| Instant::now() < until);
        !self.is_drained() && is_awaited || has_earlier_exports
    }

    /// Report about the peer for other receivers.
    pub(super) fn report(&self) -> PeerReport {
        let silent = self.unheard_since().map(|since| since.elapsed());
        let earlier_exports = self
            .earlier_exports_until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let ms = |time: Duration| time.as_millis() as u64;
        let process = self.process_id.or(self.drained_process);
        PeerReport {
            silent_ms: ms(silent.unwrap_or_default()),
            wait: self.wait,
            stated_ms: self.stated_at.map(|at| ms(at.elapsed())),
            earlier_exports_ms: ms(earlier_exports.unwrap_or_default()),
            drained_process: process.filter(|_| self.is_drained()),
            is_pod_deleted: self.is_pod_deleted(),
        }
    }

    /// Returns true if the peer has announced that its outbox is empty.
    pub(super) fn is_drained(&self) -> bool {
        self.shutdown == Some(ShutdownPhase::Drained)
    }

    /// Returns true if the pod has been deleted and none of its exports is in flight any more.
    fn has_vanished(&self) -> bool {
        let is_past = |since: Instant| since.elapsed() >= self.wait_time();
        self.is_pod_deleted() && self.unheard_since().is_some_and(is_past)
    }

    /// Returns true if the peer has left and will deliver no more batches.
    pub(super) fn is_finished(&self) -> bool {
        !self.is_member && (self.is_drained() || self.has_vanished())
    }

    /// Returns true if the peer can be forgotten.
    ///
    /// A finished peer is remembered for as long as other receivers may still report it. They
    /// may not have found out yet that it is gone, or that its pod was deleted.
    pub(super) fn is_evictable(&self, away_timeout: Duration) -> bool {
        let is_past = |since: Instant| since.elapsed() >= self.wait.total() * 2;
        if self.is_drained() {
            self.left_at.elapsed() >= self.wait.exports() * 2
        } else if self.has_vanished() {
            self.unheard_since().is_some_and(is_past)
        } else {
            self.silent_since.is_some() && !self.may_deliver(away_timeout, false)
        }
    }
}
