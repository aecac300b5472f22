//! Hold-backs of keys, and the times of pending batches, which other receivers ask for.

use std::collections::{HashMap, HashSet};

use super::Lanes;

impl Lanes {
    pub(crate) fn hold_back(&self, key: u64, after_ms: i64) {
        self.state.lock().hold_backs.hold_back(key, after_ms);
        self.wake_lane(self.lane_of(key));
    }

    pub(crate) fn release(&self, key: u64) {
        self.state.lock().hold_backs.release(key);
        self.wake_lane(self.lane_of(key));
    }

    pub(crate) fn take_replayed(&self) -> Option<HashMap<u64, i64>> {
        self.state.lock().replayed.take()
    }

    pub(crate) fn oldest_pending_ms(&self, keys: &HashSet<u64>) -> Option<HashMap<u64, i64>> {
        let mut oldest = HashMap::new();
        for lane in 0..self.len() {
            // Locks for one lane at a time, as there may be many batches.
            let state = self.state.lock();
            if state.is_replaying {
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
