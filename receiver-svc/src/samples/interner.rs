//! Interns sequences, such as byte strings: maps each one to an ID.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Maps sequences to consecutive IDs, in the order of insertion.
///
/// All sequences are in one allocation. A scrape mostly looks them up in the order of
/// insertion, which is then sequential memory access.
#[derive(Debug, Default)]
pub(crate) struct Interner<T = u8> {
    items: Vec<T>,
    /// End offset of each sequence in `items`.
    ends: Vec<usize>,
    ids: HashTable<u32>,
    state: RandomState,
}

/// Share of its length by which a long-lived vector grows.
const GROWTH: usize = 8;

// === impl Interner ===

impl<T: Copy + Eq + Hash> Interner<T> {
    /// Returns the number of sequences.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the allocated bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.items.capacity() * size_of::<T>()
            + self.ends.capacity() * size_of::<usize>()
            + self.ids.allocation_size()
    }

    /// Returns the sequence of an ID.
    pub(crate) fn get(&self, id: u32) -> &[T] {
        slice(&self.items, &self.ends, id, id)
    }

    /// Returns the sequences of the IDs from `first` to `last`, joined.
    pub(crate) fn joined(&self, first: u32, last: u32) -> &[T] {
        slice(&self.items, &self.ends, first, last)
    }

    /// Returns the ID of a sequence.
    pub(crate) fn find(&self, sequence: &[T]) -> Option<u32> {
        let hash = self.state.hash_one(sequence);
        let found = self.ids.find(hash, |&id| self.get(id) == sequence);
        found.copied()
    }

    /// Returns true if `id` is the ID of `sequence`.
    pub(crate) fn is(&self, id: u32, sequence: &[T]) -> bool {
        (id as usize) < self.len() && self.get(id) == sequence
    }

    /// Returns the ID of a sequence. Adds the sequence if it is new.
    pub(crate) fn intern(&mut self, sequence: &[T]) -> u32 {
        if let Some(id) = self.find(sequence) {
            return id;
        }
        let id = self.len() as u32;
        make_room(&mut self.items, sequence.len());
        self.items.extend_from_slice(sequence);
        make_room(&mut self.ends, 1);
        self.ends.push(self.items.len());
        let (items, ends, state) = (&self.items, &self.ends, &self.state);
        self.ids.insert_unique(state.hash_one(sequence), id, |&id| {
            state.hash_one(slice(items, ends, id, id))
        });
        id
    }
}

fn slice<'a, T>(items: &'a [T], ends: &[usize], first: u32, last: u32) -> &'a [T] {
    let start = (first as usize)
        .checked_sub(1)
        .map_or(0, |before| ends[before]);
    &items[start..ends[last as usize]]
}

/// Makes room for `additional` items in a vector that lives long.
///
/// It grows by an eighth, while [`Vec::reserve`] doubles it and leaves a third of it unused on
/// average.
pub(crate) fn make_room<T>(items: &mut Vec<T>, additional: usize) {
    if items.capacity() - items.len() < additional {
        items.reserve_exact(additional.max(items.len() / GROWTH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_keeps_its_id() {
        let mut interner = Interner::default();
        for (at, string) in (0_u32..1000).map(|at| (at, at.to_string())) {
            assert_eq!(interner.find(string.as_bytes()), None);
            assert_eq!(interner.intern(string.as_bytes()), at);
            assert_eq!(interner.intern(string.as_bytes()), at);
        }
        assert_eq!(interner.get(999), b"999");
        assert_eq!(interner.joined(0, 10), b"012345678910");
        assert_eq!(interner.find(b"500"), Some(500));
        assert!(interner.is(0, b"0") && !interner.is(1000, b"1000"));
    }

    #[test]
    fn a_vector_grows_by_an_eighth() {
        let mut items = Vec::new();
        for item in 0..10_000 {
            make_room(&mut items, 1);
            items.push(item);
            assert!(items.capacity() <= items.len() + items.len() / GROWTH + 1);
        }
    }
}
