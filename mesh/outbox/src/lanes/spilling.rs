//! What the spiller of the outbox asks of the lanes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{
        entry::{Body, Entry},
        lane::Lane,
        spill::{Place, Record, Replay},
    },
    Lanes, State,
};

impl Lanes {
    /// Notes how long the Export of a lane may be under way.
    pub(crate) fn note_span(&self, lane: usize, span: Duration) {
        self.state().spans[lane] = span;
    }

    pub(crate) fn longest_span(&self) -> Duration {
        self.state().spans.iter().copied().max().unwrap_or_default()
    }

    /// Whether there is a directory for what waits.
    pub(crate) fn spills(&self) -> bool {
        self.spill_after.is_some()
    }

    /// Whether the spiller is to be told of every batch, as it spills all at once.
    pub(super) fn spills_at_once(&self) -> bool {
        self.spill_after.is_some_and(|after| after.is_zero())
    }

    /// Whether a process that is killed within `ahead` may leave batches on its disk.
    pub(crate) fn may_leave_some(&self, ahead: Duration) -> bool {
        let Some(after) = self.spill_after else {
            return false;
        };
        let state = self.state();
        let waits = || {
            let mut oldest = state.lanes.iter().filter_map(|lane| lane.iter().next());
            oldest.any(|entry| entry.since.elapsed() + ahead >= after)
        };
        let is_written = || after.is_zero() || state.account.spilled > 0 || waits();
        state.replaying || self.disk.get().is_some() && is_written()
    }

    /// Has the spiller spill what still waits, and end.
    pub(crate) fn abandon(&self) {
        self.state().abandoned = true;
        self.to_keep.notify_one();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Whether what an earlier process has left is still being read.
    #[cfg(test)]
    pub(crate) fn is_replaying(&self) -> bool {
        self.state().replaying
    }

    /// Puts what an earlier process has left before everything that was pushed
    /// since, and lets the lanes flow. Lanes with such batches wait for `fence`.
    pub(crate) fn replay(&self, replay: Replay, fence: Instant) {
        let mut lanes: Vec<Vec<Entry>> = (0..self.len()).map(|_| Vec::new()).collect();
        let (mut next_seq, mut left) = (0, HashMap::new());
        for (place, record) in replay.records {
            next_seq = record.seq + 1;
            let oldest_ms = left.entry(record.key).or_insert(record.time_ms);
            *oldest_ms = record.time_ms.min(*oldest_ms);
            lanes[self.lane_of(record.key)].push(Entry::replayed(place, record));
        }
        let mut state = self.state();
        state.renumber(next_seq);
        for (lane, entries) in lanes.into_iter().enumerate() {
            for entry in &entries {
                state.account.push(entry.weight());
            }
            if !entries.is_empty() {
                state.lanes[lane].fence = Some(fence);
            }
            state.lanes[lane].prepend(entries);
        }
        if self.shares_keys {
            for (key, oldest_ms) in &left {
                state.holds.hold_back(*key, oldest_ms - 1);
            }
            state.left = Some(left);
        }
        state.replaying = false;
        drop(state);
        self.wake_all();
    }

    /// Batches in memory that have waited for `after`, with their lanes; where
    /// memory is short, or all is to be spilled, any that wait. The oldest, up to
    /// so many bytes.
    pub(crate) fn due(&self, after: Duration, max_bytes: usize) -> Vec<(usize, Record)> {
        let mut state = self.state();
        let now = Instant::now();
        let any = state.abandoned || !state.fits(0, self.max_bytes / 2);
        let mut due = Vec::new();
        for (index, lane) in state.lanes.iter().enumerate() {
            let waited = lane.to_keep();
            let waited = waited.take_while(|entry| any || now - entry.since >= after);
            let records = waited.filter_map(Entry::record);
            due.extend(up_to(max_bytes, records).map(|record| (index, record)));
        }
        // In their order over all lanes, so that the files of the log are done with
        // one after the other.
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

    /// Gives a batch that still waits another body. With `is_kept` the spiller has
    /// nothing more to do with it.
    pub(crate) fn keep(&self, lane: usize, seq: u64, body: Body, is_kept: bool) {
        let mut state = self.state();
        let State {
            lanes,
            account,
            done,
            ..
        } = &mut *state;
        match lanes[lane].find(seq, is_kept) {
            Some(entry) => {
                let before = entry.weight();
                entry.body = body;
                entry.is_being_spilled = false;
                account.reweigh(before, entry.weight());
            }
            // It was delivered in the meantime.
            None => match body {
                Body::OnDisk(place) => done.push((seq, place)),
                Body::InMemory(_) => {
                    if lanes[lane].noted(|noted| noted == seq) {
                        self.changed[lane].notify_one();
                    }
                }
            },
        }
    }

    /// Takes up what the disk knows to be done with by now.
    pub(crate) fn noted(&self, done: &[(u64, Place)]) {
        let noted: HashSet<u64> = done.iter().map(|(seq, _)| *seq).collect();
        let mut state = self.state();
        for (lane, changed) in state.lanes.iter_mut().zip(&self.changed) {
            if lane.noted(|seq| noted.contains(&seq)) {
                changed.notify_one();
            }
        }
    }

    /// Spilled batches that are done with.
    pub(crate) fn take_done(&self) -> Vec<(u64, Place)> {
        std::mem::take(&mut self.state().done)
    }

    /// Waits until the spiller has something to do before the next look at the
    /// clock.
    pub(crate) async fn keeper_called(&self) {
        self.to_keep.notified().await;
    }
}

impl State {
    /// Numbers what was pushed so far from `first` on.
    fn renumber(&mut self, first: u64) {
        for entry in self.lanes.iter_mut().flat_map(Lane::iter_mut) {
            entry.seq += first;
        }
        self.next_seq += first;
    }
}

/// The first records, until they come to so many bytes.
fn up_to(max_bytes: usize, records: impl Iterator<Item = Record>) -> impl Iterator<Item = Record> {
    let mut bytes = 0;
    records.take_while(move |record| {
        let is_within = bytes <= max_bytes;
        bytes += record.payload.bytes().len();
        is_within
    })
}
