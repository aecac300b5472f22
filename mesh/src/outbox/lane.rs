//! One lane: batches in the order they were pushed, the first of which may be in
//! flight.

use std::collections::{HashSet, VecDeque};

use tokio::time::Instant;

use super::entry::Entry;

/// One lane.
#[derive(Debug, Default)]
pub(super) struct Lane {
    entries: VecDeque<Entry>,
    /// How many of the first are in the request that is in flight.
    in_flight: usize,
    /// How many of the first the keeper has nothing to do with any more.
    kept: usize,
    /// Until then an earlier process' Exports may be under way.
    pub(super) fence: Option<Instant>,
}

// === impl Lane ===

impl Lane {
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
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
        self.entries.range(..self.in_flight)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Takes the first batches into flight that may travel together: one a key, of
    /// the same facts, up to a size. One that somebody waits for goes alone.
    pub(super) fn depart(&mut self, max_bytes: usize) {
        let Some(first) = self.entries.front() else {
            return;
        };
        let (mut keys, mut bytes) = (HashSet::new(), 0);
        let joins = self.entries.iter().take_while(|entry| {
            bytes += entry.raw_bytes;
            keys.insert(entry.key)
                && bytes <= max_bytes
                && !entry.is_awaited()
                && entry.facts == first.facts
        });
        self.in_flight = match first.is_awaited() {
            true => 1,
            false => joins.count().max(1),
        };
    }

    /// Takes out what was in flight.
    pub(super) fn arrive(&mut self) -> Vec<Entry> {
        self.kept = self.kept.saturating_sub(self.in_flight);
        self.entries
            .drain(..std::mem::take(&mut self.in_flight))
            .collect()
    }

    /// Takes out those in flight of which `is_over` holds.
    pub(super) fn extract_in_flight(&mut self, is_over: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let over: Vec<_> = (0..self.in_flight)
            .rev()
            .filter(|index| is_over(&self.entries[*index]))
            .collect();
        over.into_iter()
            .filter_map(|index| self.remove(index))
            .collect()
    }

    /// Takes out the entry at `index`.
    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.remove(index)?;
        self.in_flight -= usize::from(index < self.in_flight);
        self.kept -= usize::from(index < self.kept);
        Some(entry)
    }

    /// The first entry that is in memory and not in flight.
    pub(super) fn oldest_held(&self) -> Option<(usize, &Entry)> {
        let waiting = self.entries.iter().enumerate().skip(self.in_flight);
        waiting.into_iter().find(|(_, entry)| entry.is_held())
    }

    /// What the keeper has not dealt with yet.
    pub(super) fn to_keep(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.kept..)
    }

    /// The entry with this number; with `is_kept` the keeper has dealt with it and
    /// all before it.
    pub(super) fn find(&mut self, seq: u64, is_kept: bool) -> Option<&mut Entry> {
        let index = self.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        if is_kept {
            self.kept = self.kept.max(index + 1);
        }
        self.entries.get_mut(index)
    }
}
