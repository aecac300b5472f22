//! Hold-backs: batches of a key wait while older ones are pending in another outbox.

use std::collections::{BTreeMap, HashMap};

use crate::{entry::Entry, oldest_pending::OldestPending, route::Route};

/// Keys whose batches are held back.
#[derive(Debug)]
pub(crate) struct HoldBacks {
    /// Holds back the batches of a key that are later than the time of each destination.
    after: HashMap<u64, OldestPending>,
    /// Maximum age of a held-back batch. An older one is about to expire.
    max_age_ms: u64,
}

/// Number of batches and samples that are held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBackTotals {
    /// Number of batches.
    pub batches: u64,
    /// Number of samples in these batches.
    pub samples: u64,
}

// === impl HoldBacks ===

impl HoldBacks {
    pub(crate) fn new(max_age_ms: u64) -> Self {
        Self {
            after: HashMap::new(),
            max_age_ms,
        }
    }

    pub(crate) fn hold_back(&mut self, key: u64, after: OldestPending) {
        self.after.insert(key, after);
    }

    pub(crate) fn release(&mut self, key: u64) {
        self.after.remove(&key);
    }

    /// Returns true if a key waits for a batch that only some destinations lack.
    pub(crate) fn names_destinations(&self) -> bool {
        let mut after = self.after.values();
        after.any(|after| !after.destinations().is_empty())
    }

    /// Returns true if this batch is held back from a destination. `None` means all.
    pub(crate) fn holds_back(&self, entry: &Entry, destination: Option<&str>, now_ms: i64) -> bool {
        let after = self.after.get(&entry.key);
        let after_ms = after.and_then(|after| after.at(destination));
        after_ms.is_some_and(|after_ms| entry.time_ms > after_ms)
            && entry.age_ms(now_ms) <= self.max_age_ms
    }

    /// Counts the batches among `entries` that are held back from any destination.
    pub(crate) fn totals<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        routes: &BTreeMap<usize, Route>,
        now_ms: i64,
    ) -> HeldBackTotals {
        let mut totals = HeldBackTotals::default();
        if self.after.is_empty() {
            return totals;
        }
        let is_held_back = |entry: &&Entry| {
            let mut pending = entry.routes.iter().filter_map(|id| routes.get(&id));
            pending.any(|route| self.holds_back(entry, route.destination.as_deref(), now_ms))
        };
        for entry in entries.filter(is_held_back) {
            totals.batches += 1;
            totals.samples += entry.samples;
        }
        totals
    }
}
