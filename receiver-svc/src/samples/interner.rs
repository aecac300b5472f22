//! Interns byte strings: maps each one to an ID.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Maps byte strings to consecutive IDs, in the order of insertion.
///
/// All strings are in one allocation. A scrape mostly looks them up in the order of
/// insertion, which is then sequential memory access.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    /// End offset of each string in `bytes`.
    ends: Vec<usize>,
    ids: HashTable<u32>,
    state: RandomState,
}

// === impl Interner ===

impl Interner {
    /// Returns the number of strings.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the allocated bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.ids.allocation_size()
    }

    /// Returns the string of an ID.
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, id)
    }

    /// Returns the ID of a string.
    pub(crate) fn find(&self, string: &[u8]) -> Option<u32> {
        let hash = self.state.hash_one(string);
        let found = self.ids.find(hash, |&id| self.get(id) == string);
        found.copied()
    }

    /// Returns true if `id` is the ID of `string`.
    pub(crate) fn is(&self, id: u32, string: &[u8]) -> bool {
        (id as usize) < self.len() && self.get(id) == string
    }

    /// Returns the ID of a string. Adds the string if it is new.
    pub(crate) fn intern(&mut self, string: &[u8]) -> u32 {
        if let Some(id) = self.find(string) {
            return id;
        }
        let id = self.len() as u32;
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
        let (bytes, ends, state) = (&self.bytes, &self.ends, &self.state);
        self.ids.insert_unique(state.hash_one(string), id, |&id| {
            state.hash_one(slice(bytes, ends, id))
        });
        id
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let at = id as usize;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[at]]
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
        assert_eq!(interner.find(b"500"), Some(500));
        assert!(interner.is(0, b"0") && !interner.is(1000, b"1000"));
    }
}
