//! Hold-backs of keys, and the times of pending batches, which other receivers ask for.

use std::collections::{HashMap, HashSet};

use super::{ALL, Lanes, State};
use crate::{oldest_pending::OldestPending, route::Route};

impl Lanes {
    pub(crate) fn hold_back(&self, key: u64, after: OldestPending) {
        let mut state = self.state.lock();
        state.hold_backs.hold_back(key, after);
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

    pub(crate) fn oldest_pending(
        &self,
        keys: &HashSet<u64>,
    ) -> Option<HashMap<u64, OldestPending>> {
        let mut oldest = HashMap::new();
        for key in keys {
            // Locks for one key at a time, as there may be many.
            let state = self.state.lock();
            if state.is_replaying {
                return None;
            }
            if let Some(pending) = state.oldest_pending(*key) {
                oldest.insert(*key, pending);
            }
        }
        Some(oldest)
    }
}

impl State {
    fn oldest_pending(&self, key: u64) -> Option<OldestPending> {
        let oldest_ms = |route: &Route| {
            let lane = route.lane(key)?;
            let seqs = lane.seqs.iter();
            let times = seqs.filter_map(|seq| Some(self.entries.get(seq)?.time_ms));
            // If this process were killed now, the next one would send these again.
            times.chain(lane.unacked_times()).min()
        };
        let all = self.routes.get(&ALL).and_then(oldest_ms);
        let named = self.routes.values().filter_map(|route| {
            let name = route.destination.clone()?;
            Some((name, oldest_ms(route)))
        });
        let named = OldestPending::at_each(named.collect());
        match (all.map(OldestPending::everywhere), named) {
            (Some(all), Some(named)) => Some(all.merge(&named)),
            (all, named) => all.or(named),
        }
    }
}
