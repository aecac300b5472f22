//! One lane: batches in the order they were pushed, some of which may be in flight.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{entry::Entry, holds::Holds};

/// One lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    entries: VecDeque<Entry>,
    /// Numbers of those in the request that is in flight, going up. Mostly they are
    /// the first: only what is held back is stepped over.
    in_flight: Vec<u64>,
    /// How many of the first the spiller has nothing to do with any more.
    kept: usize,
    /// Numbers of those that have left, and that the disk does not know to be done
    /// with. Were a later one delivered before it does, the next process would send
    /// them out of order.
    unacked: Vec<u64>,
    /// When the first of them left.
    unnoted_since: Option<Instant>,
    /// Until then an earlier process' Exports may be under way.
    pub(super) fence: Option<Instant>,
    /// When the last request left.
    last_dispatch: Option<Instant>,
    /// Its worker looks again by itself, once more may have joined what waits.
    is_lingering: bool,
}

/// What comes to as many bytes does not wait for more to join it.
const LARGE_BYTES: usize = 256 << 10;

// === impl Lane ===

impl Lane {
    /// Takes an entry; true where the worker has to look.
    pub(super) fn push(&mut self, entry: Entry, linger: Duration) -> bool {
        self.entries.push_back(entry);
        !self.is_lingering || self.lingers_until(linger).is_none()
    }

    /// Until when its worker waits for more to join what waits, if at all: never where
    /// it `is_closed`.
    pub(super) fn linger(&mut self, linger: Duration, is_closed: bool) -> Option<Instant> {
        let until = self.lingers_until(linger).filter(|_| !is_closed);
        self.is_lingering = until.is_some();
        until
    }

    /// A request costs about as much as a hundred samples do. So where one left a moment
    /// ago, and what waits is little and may travel together, it waits for more. Several
    /// batches of a key are a backlog, which is not to be held up.
    fn lingers_until(&self, linger: Duration) -> Option<Instant> {
        let until = self.last_dispatch? + linger;
        if Instant::now() >= until {
            return None;
        }
        let (mut bytes, mut keys) = (0, HashSet::new());
        let is_little = !self.entries.is_empty()
            && self.entries.iter().all(|entry| {
                bytes += entry.raw_bytes;
                bytes < LARGE_BYTES && !entry.is_awaited() && keys.insert(entry.key)
            });
        is_little.then_some(until)
    }

    /// Puts entries before all others, in their order.
    pub(super) fn prepend(&mut self, entries: Vec<Entry>) {
        self.kept += entries.len();
        for entry in entries.into_iter().rev() {
            self.entries.push_front(entry);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = &Entry> {
        let indices = self.in_flight.iter().filter_map(|seq| self.index_of(*seq));
        indices.map(|index| &self.entries[index])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Takes the first batches into flight that may travel together: one a key, of
    /// the same facts, up to a size. One that somebody waits for goes alone. What is
    /// held back is stepped over, and so is all of its key behind it; false where
    /// nothing else waits.
    pub(super) fn dispatch(&mut self, max_bytes: usize, holds: &Holds, now_ms: i64) -> bool {
        let (mut stays, mut keys, mut bytes) = (HashSet::new(), HashSet::new(), 0);
        let free = self.entries.iter().filter(|entry| {
            let is_free = !stays.contains(&entry.key) && !holds.keep_back(entry, now_ms);
            if !is_free {
                stays.insert(entry.key);
            }
            is_free
        });
        let mut free = free.peekable();
        let Some(first) = free.peek().copied() else {
            return false;
        };
        let joins = free.take_while(|entry| {
            bytes += entry.raw_bytes;
            let joins = bytes <= max_bytes && !first.is_awaited() && !entry.is_awaited();
            keys.insert(entry.key)
                && (entry.seq == first.seq || joins && entry.context == first.context)
        });
        self.in_flight = joins.map(|entry| entry.seq).collect();
        self.last_dispatch = Some(Instant::now());
        true
    }

    /// Takes out what was in flight.
    pub(super) fn complete(&mut self) -> Vec<Entry> {
        self.extract_in_flight(|_| true)
    }

    /// Takes out those in flight of which `is_over` holds.
    pub(super) fn extract_in_flight(&mut self, is_over: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let over = self.in_flight().filter(|entry| is_over(entry));
        let over: Vec<_> = over.map(|entry| entry.seq).collect();
        let taken = over.into_iter().filter_map(|seq| {
            let index = self.index_of(seq)?;
            self.remove(index)
        });
        taken.collect()
    }

    /// Takes out those not in flight of which `is_over` holds.
    pub(super) fn extract_waiting(&mut self, is_over: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let over = self.waiting().filter(|(_, entry)| is_over(entry));
        let over: Vec<_> = over.map(|(index, _)| index).collect();
        // From the end, so that the other places stay.
        let taken = over.into_iter().rev().filter_map(|at| self.remove(at));
        taken.collect()
    }

    /// Takes out the entry at `index`.
    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.remove(index)?;
        if let Ok(at) = self.in_flight.binary_search(&entry.seq) {
            self.in_flight.remove(at);
        }
        if entry.would_be_found() {
            self.unacked.push(entry.seq);
            self.unnoted_since.get_or_insert_with(Instant::now);
        }
        self.kept -= usize::from(index < self.kept);
        Some(entry)
    }

    /// Since when something that has left is not noted as done with.
    pub(super) fn unnoted_since(&self) -> Option<Instant> {
        self.unnoted_since
    }

    /// Takes up that of those that have left some are noted, or never were on the disk;
    /// true where that was all.
    pub(super) fn noted(&mut self, is_noted: impl Fn(u64) -> bool) -> bool {
        if self.unacked.is_empty() {
            return false;
        }
        self.unacked.retain(|seq| !is_noted(*seq));
        self.unnoted_since.take_if(|_| self.unacked.is_empty());
        self.unacked.is_empty()
    }

    /// The first entry that is in memory and not in flight.
    pub(super) fn oldest_held(&self) -> Option<(usize, &Entry)> {
        self.waiting().find(|(_, entry)| entry.is_held())
    }

    /// What is not in flight, with its places.
    fn waiting(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| self.in_flight.binary_search(&entry.seq).is_err())
    }

    /// What the spiller has not dealt with yet.
    pub(super) fn to_keep(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.kept..)
    }

    /// The entry with this number; with `is_kept` the spiller has dealt with it and
    /// all before it.
    pub(super) fn find(&mut self, seq: u64, is_kept: bool) -> Option<&mut Entry> {
        let index = self.index_of(seq)?;
        if is_kept {
            self.kept = self.kept.max(index + 1);
        }
        self.entries.get_mut(index)
    }

    fn index_of(&self, seq: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&seq, |e| e.seq).ok()
    }
}
