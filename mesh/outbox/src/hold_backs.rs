//! Hold-backs: batches of a key wait while older ones are pending in another outbox.

use std::collections::HashMap;

use crate::entry::Entry;

/// Keys whose batches are held back.
#[derive(Debug)]
pub(crate) struct HoldBacks {
    /// Holds back the batches of a key that are later than this time, in milliseconds
    /// since the Unix epoch.
    after_ms: HashMap<u64, i64>,
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
            after_ms: HashMap::new(),
            max_age_ms,
        }
    }

    pub(crate) fn hold_back(&mut self, key: u64, after_ms: i64) {
        self.after_ms.insert(key, after_ms);
    }

    pub(crate) fn release(&mut self, key: u64) {
        self.after_ms.remove(&key);
    }

    /// Returns true if this batch is held back.
    pub(crate) fn holds_back(&self, entry: &Entry, now_ms: i64) -> bool {
        let after_ms = self.after_ms.get(&entry.key);
        after_ms.is_some_and(|after_ms| entry.time_ms > *after_ms)
            && entry.age_ms(now_ms) <= self.max_age_ms
    }

    /// Counts the batches among `entries` that are held back.
    pub(crate) fn totals<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
        now_ms: i64,
    ) -> HeldBackTotals {
        let mut totals = HeldBackTotals::default();
        if self.after_ms.is_empty() {
            return totals;
        }
        for entry in entries.filter(|entry| self.holds_back(entry, now_ms)) {
            totals.batches += 1;
            totals.samples += entry.samples;
        }
        totals
    }
}
