//! The spiller's view of the lanes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Lanes, State};
use crate::{
    entry::{Body, Entry},
    lane::Lane,
    spill::{Location, Record, Replay},
};

impl Lanes {
    /// Sets the timeout of a lane's next Export.
    pub(crate) fn set_export_timeout(&self, lane: usize, timeout: Duration) {
        self.state.lock().export_timeouts[lane] = timeout;
    }

    pub(crate) fn longest_export_timeout(&self) -> Duration {
        let state = self.state.lock();
        state
            .export_timeouts
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
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
            let mut oldest = state.lanes.iter().filter_map(|lane| lane.iter().next());
            oldest.any(|entry| entry.since.elapsed() + ahead >= after)
        };
        let is_written = || after.is_zero() || state.account.spilled > 0 || is_due();
        state.is_replaying || self.disk.get().is_some() && is_written()
    }

    /// Tells the spiller that the workers have stopped. It spills all pending batches and
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
        let mut lanes: Vec<Vec<Entry>> = (0..self.len()).map(|_| Vec::new()).collect();
        let (mut next_seq, mut oldest_by_key) = (0, HashMap::new());
        for (location, record) in replay.records {
            next_seq = record.seq + 1;
            let oldest_ms = oldest_by_key.entry(record.key).or_insert(record.time_ms);
            *oldest_ms = record.time_ms.min(*oldest_ms);
            lanes[self.lane_of(record.key)].push(Entry::replayed(location, record));
        }
        let mut state = self.state.lock();
        state.renumber(next_seq);
        for (lane, entries) in lanes.into_iter().enumerate() {
            for entry in &entries {
                state.account.record_push(entry.weight());
            }
            if !entries.is_empty() {
                state.lanes[lane].fence = Some(fence);
            }
            state.lanes[lane].prepend(entries);
        }
        if self.shares_keys {
            for (key, oldest_ms) in &oldest_by_key {
                state.hold_backs.hold_back(*key, oldest_ms - 1);
            }
            state.replayed = Some(oldest_by_key);
        }
        state.is_replaying = false;
        drop(state);
        self.wake_all_lanes();
    }

    /// Selects batches in memory that have been pending for `after`, with their lanes. If
    /// memory is short or delivery has stopped, batches of any age are selected. Returns
    /// the oldest, up to `max_bytes`.
    pub(crate) fn due(&self, after: Duration, max_bytes: usize) -> Vec<(usize, Record)> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let any_age = state.is_delivery_stopped || !state.fits(0, self.max_bytes / 2);
        let mut due = Vec::new();
        for (index, lane) in state.lanes.iter().enumerate() {
            let entries = lane.unprocessed();
            let entries = entries.take_while(|entry| any_age || now - entry.since >= after);
            let records = entries.filter_map(Entry::record);
            due.extend(up_to(max_bytes, records).map(|record| (index, record)));
        }
        // Sorted over all lanes, so that the log can remove its segments one by one.
        due.sort_by_key(|(_, record)| record.seq);
        let bytes = due.iter().scan(0, |sum, (_, record)| {
            *sum += record.payload.bytes().len();
            Some(*sum)
        });
        let fitting = bytes.take_while(|sum| *sum <= max_bytes).count();
        due.truncate(fitting.max(1));
        if self.disk.get().is_some() {
            for (lane, record) in &due {
                if let Some(entry) = state.lanes[*lane].find(record.seq, false) {
                    entry.is_being_spilled = true;
                }
            }
        }
        due
    }

    /// Replaces the body of a pending batch. Set `is_processed` if the spiller is
    /// finished with it.
    pub(crate) fn replace_body(&self, lane: usize, seq: u64, body: Body, is_processed: bool) {
        let mut state = self.state.lock();
        let State {
            lanes,
            account,
            done,
            ..
        } = &mut *state;
        match lanes[lane].find(seq, is_processed) {
            Some(entry) => {
                let before = entry.weight();
                entry.body = body;
                entry.is_being_spilled = false;
                account.record_move(before, entry.weight());
            }
            // The batch has left its lane in the meantime.
            None => match body {
                Body::OnDisk(location) => done.push((seq, location)),
                Body::InMemory(_) => {
                    if lanes[lane].ack(|unacked| unacked == seq) {
                        self.wake_lane(lane);
                    }
                }
            },
        }
    }

    /// Acknowledges batches that the log has recorded as done.
    pub(crate) fn ack(&self, done: &[(u64, Location)]) {
        let acked: HashSet<u64> = done.iter().map(|(seq, _)| *seq).collect();
        let mut state = self.state.lock();
        for (index, lane) in state.lanes.iter_mut().enumerate() {
            if lane.ack(|seq| acked.contains(&seq)) {
                self.wake_lane(index);
            }
        }
    }

    /// Takes the spilled batches that are done and not yet recorded in the log.
    pub(crate) fn take_done(&self) -> Vec<(u64, Location)> {
        std::mem::take(&mut self.state.lock().done)
    }

    /// Waits until a batch needs the spiller before its next poll.
    pub(crate) async fn wait_for_spill_work(&self) {
        self.spiller_wakeup.notified().await;
    }
}

impl State {
    /// Adds `first` to the sequence numbers of all batches, to make room for replayed ones.
    fn renumber(&mut self, first: u64) {
        for entry in self.lanes.iter_mut().flat_map(Lane::iter_mut) {
            entry.seq += first;
        }
        self.next_seq += first;
    }
}

/// Takes records until their sum exceeds `max_bytes`.
fn up_to(max_bytes: usize, records: impl Iterator<Item = Record>) -> impl Iterator<Item = Record> {
    let mut bytes = 0;
    records.take_while(move |record| {
        let is_within = bytes <= max_bytes;
        bytes += record.payload.bytes().len();
        is_within
    })
}
