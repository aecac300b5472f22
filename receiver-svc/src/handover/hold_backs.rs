//! Targets whose batches this receiver holds back, and the backlog that peers report.
//!
//! A receiver that scraped such a target before may still have older batches in its outbox.
//! A peer that reports no backlog after the claim will never have one: it does not scrape the
//! target any more. For a peer that stops answering, its last report counts.

use std::collections::BTreeMap;

use mesh_outbox::OldestPending;

/// Targets whose batches are held back.
#[derive(Debug, Default)]
pub(super) struct HoldBacks(BTreeMap<u64, HoldBack>);

/// Hold-back of one target.
#[derive(Debug)]
pub(super) struct HoldBack {
    /// Time of the claim, in milliseconds since the Unix epoch. For batches that an earlier
    /// process left on disk: just before the oldest of them.
    claimed_ms: i64,
    /// `true` if an earlier process left some of the batches on disk. Their lane waits for the
    /// exports of that process already.
    is_fenced: bool,
    /// Last report of each peer.
    backlogs: BTreeMap<String, Backlog>,
}

/// Batches of a target in the outbox of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    /// The peer has no batches.
    Empty,
    /// The peer has batches. Times of the oldest.
    Since(OldestPending),
}

// === impl HoldBacks ===

impl HoldBacks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    /// Adds a hold-back. If the target is held back already, the earlier claim counts.
    pub(super) fn insert(&mut self, target: u64, mut new: HoldBack) {
        if let Some(known) = self.0.get(&target) {
            new.claimed_ms = known.claimed_ms.min(new.claimed_ms);
            new.is_fenced |= known.is_fenced;
        }
        self.0.insert(target, new);
    }

    pub(super) fn remove(&mut self, target: u64) -> Option<HoldBack> {
        self.0.remove(&target)
    }
}

// === impl HoldBack ===

impl HoldBack {
    /// Hold-back of a target that was claimed at this time.
    pub(super) fn new(claimed_ms: i64) -> Self {
        Self {
            claimed_ms,
            is_fenced: false,
            backlogs: BTreeMap::new(),
        }
    }

    /// Hold-back of a target of which an earlier process left batches on disk.
    pub(super) fn replayed(oldest_ms: i64) -> Self {
        Self {
            is_fenced: true,
            ..Self::new(oldest_ms - 1)
        }
    }

    /// Returns true if the lane waits for the exports of an earlier process already.
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Records the report of a peer. Once empty, a backlog stays empty.
    pub(super) fn record(&mut self, peer: &str, backlog: Backlog) {
        match self.backlogs.get_mut(peer) {
            Some(Backlog::Empty) => {}
            Some(known) => *known = backlog,
            None => {
                self.backlogs.insert(peer.to_owned(), backlog);
            }
        }
    }

    /// Last report of a peer.
    pub(super) fn backlog(&self, peer: &str) -> Option<&Backlog> {
        self.backlogs.get(peer)
    }

    /// Times of the oldest batches that a peer may have. Later batches wait for them.
    pub(super) fn oldest(&self, peer: &str) -> OldestPending {
        match self.backlog(peer) {
            Some(Backlog::Since(oldest)) => oldest.clone(),
            _ => OldestPending::everywhere(self.claimed_ms),
        }
    }

    /// Time of the claim, in milliseconds since the Unix epoch.
    pub(super) fn claimed_ms(&self) -> i64 {
        self.claimed_ms
    }
}
