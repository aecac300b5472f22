//! Hold-backs of keys, and the times of pending batches, which other receivers ask for.

use std::collections::{HashMap, HashSet};

use super::Lanes;

impl Lanes {
    pub(crate) fn hold_back(&self, key: u64, after_ms: i64) {
        let mut state = self.state.lock();
        state.hold_backs.hold_back(key, after_ms);
        state.refresh_key(key, self.clock.now_ms());
    }

    pub(crate) fn release(&self, key: u64) {
        let mut state = self.state.lock();
        state.hold_backs.release(key);
        state.refresh_key(key, self.clock.now_ms());
        self.wake(&mut state);
    }

    pub(crate) fn take_replayed(&self) -> Option<HashMap<u64, i64>> {
        self.state.lock().replayed.take()
    }

    pub(crate) fn oldest_pending_ms(&self, keys: &HashSet<u64>) -> Option<HashMap<u64, i64>> {
        let mut oldest = HashMap::new();
        for key in keys {
            // Locks for one key at a time, as there may be many.
            let state = self.state.lock();
            if state.is_replaying {
                return None;
            }
            let lanes = state.routes.values().filter_map(|route| route.lane(*key));
            let seqs = lanes.flat_map(|lane| &lane.seqs);
            let times = seqs.filter_map(|seq| Some(state.entries.get(seq)?.time_ms));
            if let Some(time_ms) = times.min() {
                oldest.insert(*key, time_ms);
            }
        }
        Some(oldest)
    }
}
