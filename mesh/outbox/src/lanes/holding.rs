//! Holding back, and what others want to know who do so.

use std::collections::{HashMap, HashSet};

use super::{super::holds::HeldBack, Lanes};

impl Lanes {
    pub(crate) fn hold_back(&self, key: u64, after_ms: i64) {
        self.state().holds.hold_back(key, after_ms);
        self.changed[self.lane_of(key)].notify_one();
    }

    pub(crate) fn let_go(&self, key: u64) {
        self.state().holds.let_go(key);
        self.changed[self.lane_of(key)].notify_one();
    }

    pub(crate) fn take_replayed(&self) -> Option<HashMap<u64, i64>> {
        self.state().left.take()
    }

    pub(crate) fn held_back(&self) -> HeldBack {
        let now_ms = self.clock.now_ms();
        let state = self.state();
        state.holds.of(&state.lanes, now_ms)
    }

    pub(crate) fn oldest(&self, keys: &HashSet<u64>) -> Option<HashMap<u64, i64>> {
        let mut oldest = HashMap::new();
        for lane in 0..self.len() {
            // Lane by lane, as there may be many batches.
            let state = self.state();
            if state.replaying {
                return None;
            }
            let entries = state.lanes[lane].iter();
            for entry in entries.filter(|entry| keys.contains(&entry.key)) {
                let time_ms = oldest.entry(entry.key).or_insert(entry.time_ms);
                *time_ms = entry.time_ms.min(*time_ms);
            }
        }
        Some(oldest)
    }
}
