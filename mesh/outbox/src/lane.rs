//! A lane: a FIFO of batches, some of which may be in flight.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{entry::Entry, hold_backs::HoldBacks};

/// A FIFO of batches.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    entries: VecDeque<Entry>,
    /// Ascending sequence numbers of the batches in flight. These are the first batches,
    /// except that a request skips batches that are held back.
    in_flight: Vec<u64>,
    /// Number of leading entries that the spiller has processed.
    processed: usize,
    /// Sequence numbers of batches that have left the lane while the log on disk still
    /// lists them as pending. If a later batch were delivered now, the next process would
    /// send them out of order.
    unacked: Vec<u64>,
    /// Time when the first unacked batch left.
    unacked_since: Option<Instant>,
    /// Time until which an Export of an earlier process may be in flight.
    pub(crate) fence: Option<Instant>,
    /// Time of the last request.
    last_dispatch: Option<Instant>,
    /// Set while the worker waits for more batches to join the next request.
    is_lingering: bool,
}

/// Size from which a request does not linger.
const LARGE_BYTES: usize = 256 << 10;

// === impl Lane ===

impl Lane {
    /// Appends an entry. Returns true if the worker must wake up.
    pub(crate) fn push(&mut self, entry: Entry, linger: Duration) -> bool {
        self.entries.push_back(entry);
        !self.is_lingering || self.lingers_until(linger).is_none()
    }

    /// Returns the time until which the worker lingers, if it does. A closed lane never
    /// lingers.
    pub(crate) fn linger(&mut self, linger: Duration, is_closed: bool) -> Option<Instant> {
        let until = self.lingers_until(linger).filter(|_| !is_closed);
        self.is_lingering = until.is_some();
        until
    }

    /// Lingers after a recent request if the pending batches are small and can share the
    /// next request, since a request costs about as much as a hundred samples. Several
    /// batches of one key are a backlog, which must not be delayed.
    fn lingers_until(&self, linger: Duration) -> Option<Instant> {
        let until = self.last_dispatch? + linger;
        if Instant::now() >= until {
            return None;
        }
        let (mut bytes, mut keys) = (0, HashSet::new());
        let is_small = !self.entries.is_empty()
            && self.entries.iter().all(|entry| {
                bytes += entry.raw_bytes;
                bytes < LARGE_BYTES && !entry.is_awaited() && keys.insert(entry.key)
            });
        is_small.then_some(until)
    }

    /// Inserts replayed entries before all others, in their order.
    pub(crate) fn prepend(&mut self, entries: Vec<Entry>) {
        self.processed += entries.len();
        for entry in entries.into_iter().rev() {
            self.entries.push_front(entry);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Entry> {
        let indices = self.in_flight.iter().filter_map(|seq| self.index_of(*seq));
        indices.map(|index| &self.entries[index])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Selects the batches of the next request: the first ones with different keys and the
    /// same context, up to `max_bytes`. A batch whose outcome is awaited is sent alone. A
    /// held-back batch is skipped, with all later batches of its key. Returns false if no
    /// batch can be sent.
    pub(crate) fn dispatch(
        &mut self,
        max_bytes: usize,
        hold_backs: &HoldBacks,
        now_ms: i64,
    ) -> bool {
        let (mut held_back, mut keys, mut bytes) = (HashSet::new(), HashSet::new(), 0);
        let ready = self.entries.iter().filter(|entry| {
            let is_ready = !held_back.contains(&entry.key) && !hold_backs.holds_back(entry, now_ms);
            if !is_ready {
                held_back.insert(entry.key);
            }
            is_ready
        });
        let mut ready = ready.peekable();
        let Some(first) = ready.peek().copied() else {
            return false;
        };
        let joined = ready.take_while(|entry| {
            bytes += entry.raw_bytes;
            let fits = bytes <= max_bytes && !first.is_awaited() && !entry.is_awaited();
            keys.insert(entry.key)
                && (entry.seq == first.seq || fits && entry.context == first.context)
        });
        self.in_flight = joined.map(|entry| entry.seq).collect();
        self.last_dispatch = Some(Instant::now());
        true
    }

    /// Removes all batches in flight.
    pub(crate) fn complete(&mut self) -> Vec<Entry> {
        self.extract_in_flight(|_| true)
    }

    /// Removes the batches in flight that match a condition.
    pub(crate) fn extract_in_flight(&mut self, matches: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let extracted = self.in_flight().filter(|entry| matches(entry));
        let extracted: Vec<_> = extracted.map(|entry| entry.seq).collect();
        let extracted = extracted.into_iter().filter_map(|seq| {
            let index = self.index_of(seq)?;
            self.remove(index)
        });
        extracted.collect()
    }

    /// Removes the batches that match a condition and are not in flight.
    pub(crate) fn extract_queued(&mut self, matches: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let extracted = self.queued().filter(|(_, entry)| matches(entry));
        let extracted: Vec<_> = extracted.map(|(index, _)| index).collect();
        // Starts at the end, so that the other indices stay valid.
        let extracted = extracted.into_iter().rev();
        extracted.filter_map(|index| self.remove(index)).collect()
    }

    /// Removes the entry at `index`.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.remove(index)?;
        if let Ok(at) = self.in_flight.binary_search(&entry.seq) {
            self.in_flight.remove(at);
        }
        if entry.would_be_replayed() {
            self.unacked.push(entry.seq);
            self.unacked_since.get_or_insert_with(Instant::now);
        }
        self.processed -= usize::from(index < self.processed);
        Some(entry)
    }

    /// Returns the time when the first batch left that is not yet recorded as done on disk.
    pub(crate) fn unacked_since(&self) -> Option<Instant> {
        self.unacked_since
    }

    /// Removes unacked batches that are recorded as done, or were never written to disk.
    /// Returns true if these were the last.
    pub(crate) fn ack(&mut self, is_acked: impl Fn(u64) -> bool) -> bool {
        if self.unacked.is_empty() {
            return false;
        }
        self.unacked.retain(|seq| !is_acked(*seq));
        self.unacked_since.take_if(|_| self.unacked.is_empty());
        self.unacked.is_empty()
    }

    /// Returns the first batch that is in memory and not in flight, with its index.
    pub(crate) fn oldest_in_memory(&self) -> Option<(usize, &Entry)> {
        self.queued().find(|(_, entry)| entry.is_in_memory())
    }

    /// Iterates over the batches that are not in flight, with their indices.
    fn queued(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| self.in_flight.binary_search(&entry.seq).is_err())
    }

    /// Iterates over the batches that the spiller has not processed.
    pub(crate) fn unprocessed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.processed..)
    }

    /// Finds an entry by its sequence number. `is_processed` marks it and all entries
    /// before it as processed by the spiller.
    pub(crate) fn find(&mut self, seq: u64, is_processed: bool) -> Option<&mut Entry> {
        let index = self.index_of(seq)?;
        if is_processed {
            self.processed = self.processed.max(index + 1);
        }
        self.entries.get_mut(index)
    }

    fn index_of(&self, seq: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&seq, |e| e.seq).ok()
    }
}
