//! The spiller's view of the lanes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{Lanes, State};
use crate::{
    entry::{Body, Entry},
    oldest_pending::OldestPending,
    spill::{Done, Poison, Record, Replay},
};

impl Lanes {
    /// Longest timeout of an Export in flight, or of the latest Export.
    pub(crate) fn longest_export_timeout(&self) -> Duration {
        let state = self.state.lock();
        let in_flight = state.flights.values().map(|it| it.timeout);
        in_flight.fold(state.longest_timeout, Duration::max)
    }

    /// Returns true if there is a spill directory.
    pub(crate) fn has_spill_directory(&self) -> bool {
        self.spill_after.is_some()
    }

    /// Returns true if each batch is spilled as soon as it is pushed.
    pub(super) fn spills_at_once(&self) -> bool {
        self.spill_after.is_some_and(|after| after.is_zero())
    }

    /// Returns true if batches are on disk, or may be within `ahead`.
    pub(crate) fn may_have_spilled(&self, ahead: Duration) -> bool {
        let Some(after) = self.spill_after else {
            return false;
        };
        let state = self.state.lock();
        let is_due = || {
            let oldest = state.unprocessed.first();
            let oldest = oldest.and_then(|seq| state.entries.get(seq));
            oldest.is_some_and(|entry| entry.since.elapsed() + ahead >= after)
        };
        let is_written = || after.is_zero() || state.account.spilled > 0 || is_due();
        state.is_replaying || self.disk.get().is_some() && is_written()
    }

    /// Tells the spiller that the dispatcher has stopped. It spills all pending batches and
    /// ends.
    pub(crate) fn stop_delivery(&self) {
        self.state.lock().is_delivery_stopped = true;
        self.spiller_wakeup.notify_one();
    }

    pub(crate) fn is_delivery_stopped(&self) -> bool {
        self.state.lock().is_delivery_stopped
    }

    /// Returns true while the batches of an earlier process are read from disk.
    #[cfg(test)]
    pub(crate) fn is_replaying(&self) -> bool {
        self.state.lock().is_replaying
    }

    /// Inserts the batches of an earlier process before all that were pushed since, and
    /// starts delivery. A lane with such batches waits until `fence`.
    pub(crate) fn replay(&self, replay: Replay, fence: Instant) {
        let now_ms = self.clock.now_ms();
        let next_seq = replay
            .records
            .last()
            .map_or(0, |(_, record)| record.seq + 1);
        let (mut oldest_by_key, mut progress) = (HashMap::new(), replay.progress);
        let mut state = self.state.lock();
        state.renumber(next_seq);
        for (location, record) in replay.records {
            let (key, time_ms) = (record.key, record.time_ms);
            let oldest_ms = oldest_by_key.entry(key).or_insert(time_ms);
            *oldest_ms = time_ms.min(*oldest_ms);
            let progress = progress.remove(&record.seq).unwrap_or_default();
            let entry = Entry::replayed(location, record, progress);
            state.account.record_push(entry.weight());
            state.insert(entry);
        }
        for (key, oldest_ms) in &oldest_by_key {
            for route in state.routes.values_mut() {
                if let Some(lane) = route.lane_mut(*key) {
                    lane.not_before = Some(fence);
                }
            }
            if self.shares_keys {
                let after = OldestPending::everywhere(oldest_ms - 1);
                state.hold_backs.hold_back(*key, after);
            }
        }
        if self.shares_keys {
            state.replayed = Some(oldest_by_key);
        }
        state.is_replaying = false;
        let keys: BTreeSet<u64> = state.entries.values().map(|entry| entry.key).collect();
        for key in keys {
            state.refresh_key(key, now_ms);
        }
        state.sleeps_until = None;
        self.wakeup.notify_one();
    }

    /// Selects batches in memory that have been pending for `after`. If memory is short or
    /// delivery has stopped, batches of any age are selected. Returns the oldest, up to
    /// `max_bytes`.
    pub(crate) fn due(&self, after: Duration, max_bytes: usize) -> Vec<Record> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let any_age = state.is_delivery_stopped || !state.fits(0, self.max_bytes / 2);
        let unprocessed = state.unprocessed.iter();
        let entries = unprocessed.filter_map(|seq| state.entries.get(seq));
        let entries = entries.take_while(|entry| any_age || now - entry.since >= after);
        let mut bytes = 0;
        let mut due = Vec::new();
        for record in entries.filter_map(Entry::record) {
            bytes += record.payload.bytes().len();
            if bytes > max_bytes && !due.is_empty() {
                break;
            }
            due.push(record);
        }
        if self.disk.get().is_some() {
            for record in &due {
                if let Some(entry) = state.entries.get_mut(&record.seq) {
                    entry.is_being_spilled = true;
                }
            }
        }
        due
    }

    /// Replaces the body of a pending batch. Set `is_processed` if the spiller is
    /// finished with it.
    pub(crate) fn replace_body(&self, seq: u64, body: Body, is_processed: bool) {
        let mut state = self.state.lock();
        let State {
            entries,
            account,
            done,
            in_memory,
            unprocessed,
            ..
        } = &mut *state;
        match entries.get_mut(&seq) {
            Some(entry) => {
                let before = entry.weight();
                // The next process will not replay it, so no lane has to wait for its record.
                let is_unspilled = entry.is_being_spilled && matches!(body, Body::InMemory(_));
                entry.body = body;
                entry.is_being_spilled = false;
                account.record_move(before, entry.weight());
                if is_processed {
                    unprocessed.remove(&seq);
                }
                if let Body::OnDisk(location) = entry.body {
                    in_memory.remove(&(entry.time_ms, seq));
                    let completed = entry.completed.iter();
                    done.extend(completed.map(|name| Done::at(seq, location, name)));
                }
                if is_unspilled {
                    state.ack(&BTreeSet::from([seq]), self.clock.now_ms());
                }
            }
            // The batch was done in the meantime.
            None => match body {
                Body::OnDisk(location) => done.push(Done::everywhere(seq, location)),
                Body::InMemory(_) => state.ack(&BTreeSet::from([seq]), self.clock.now_ms()),
            },
        }
        self.wake(&mut state);
    }

    /// Acknowledges batches that the log has recorded as done.
    pub(crate) fn ack(&self, done: &[Done]) {
        if done.is_empty() {
            return;
        }
        let mut acked: BTreeSet<u64> = done.iter().map(|done| done.seq).collect();
        let mut state = self.state.lock();
        // The record of another destination may not be written yet.
        for done in &state.done {
            acked.remove(&done.seq);
        }
        state.ack(&acked, self.clock.now_ms());
        self.wake(&mut state);
    }

    /// Takes the spilled batches that are done and not yet recorded in the log, and the batches
    /// to keep for the operator. Keep them first: the log may remove what is done.
    pub(crate) fn take_done(&self) -> (Vec<Done>, Vec<Poison<Body>>) {
        let mut state = self.state.lock();
        (
            std::mem::take(&mut state.done),
            std::mem::take(&mut state.poison),
        )
    }

    /// Waits until a batch needs the spiller before its next poll.
    pub(crate) async fn wait_for_spill_work(&self) {
        self.spiller_wakeup.notified().await;
    }
}

impl State {
    /// Adds `first` to the sequence numbers of all batches, to make room for replayed ones.
    fn renumber(&mut self, first: u64) {
        for route in self.routes.values_mut() {
            route.renumber(first);
        }
        let entries = std::mem::take(&mut self.entries).into_values();
        let renumbered = entries.map(|mut entry| {
            entry.seq += first;
            (entry.seq, entry)
        });
        self.entries = renumbered.collect();
        let in_memory = self.in_memory.iter();
        self.in_memory = in_memory.map(|(time, seq)| (*time, seq + first)).collect();
        self.unprocessed = self.unprocessed.iter().map(|seq| seq + first).collect();
        self.next_seq += first;
    }

    /// Lets lanes go on that waited until these batches were recorded as done.
    fn ack(&mut self, acked: &BTreeSet<u64>, now_ms: i64) {
        let mut lanes: BTreeMap<u64, Vec<(usize, u64)>> = BTreeMap::new();
        for seq in acked {
            if let Some(waiting) = self.unacked.remove(seq) {
                lanes.insert(*seq, waiting);
            }
        }
        for (seq, waiting) in lanes {
            for (route, key) in waiting {
                let route = self.routes.get_mut(&route);
                if let Some(lane) = route.and_then(|route| route.lane_mut(key)) {
                    lane.ack(seq);
                }
                self.refresh_key(key, now_ms);
            }
        }
    }
}
