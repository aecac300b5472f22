//! What is held back: batches of keys of which older ones wait somewhere else.

use std::collections::HashMap;

use super::{entry::Entry, lane::Lane};

/// Which batches are held back.
#[derive(Debug)]
pub(super) struct Holds {
    /// By key, the time in milliseconds since the Unix epoch after which they are.
    after_ms: HashMap<u64, i64>,
    /// Older ones are not: they are about to expire.
    max_age_ms: u64,
}

/// How much is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// Batches.
    pub batches: u64,
    /// Their samples.
    pub samples: u64,
}

// === impl Holds ===

impl Holds {
    pub(super) fn new(max_age_ms: u64) -> Self {
        Self {
            after_ms: HashMap::new(),
            max_age_ms,
        }
    }

    pub(super) fn hold_back(&mut self, key: u64, after_ms: i64) {
        self.after_ms.insert(key, after_ms);
    }

    pub(super) fn let_go(&mut self, key: u64) {
        self.after_ms.remove(&key);
    }

    /// Whether this batch has to wait for others.
    pub(super) fn keep_back(&self, entry: &Entry, now_ms: i64) -> bool {
        let after_ms = self.after_ms.get(&entry.key);
        after_ms.is_some_and(|after_ms| entry.time_ms > *after_ms)
            && entry.age_ms(now_ms) <= self.max_age_ms
    }

    /// How much in these lanes has to wait.
    pub(super) fn of(&self, lanes: &[Lane], now_ms: i64) -> HeldBack {
        let mut held_back = HeldBack::default();
        if self.after_ms.is_empty() {
            return held_back;
        }
        let entries = lanes.iter().flat_map(Lane::iter);
        for entry in entries.filter(|entry| self.keep_back(entry, now_ms)) {
            held_back.batches += 1;
            held_back.samples += entry.samples;
        }
        held_back
    }
}
