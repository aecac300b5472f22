//! Byte strings by number.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Gives each byte string a number, in the order they come, and finds it again.
///
/// All strings stand one behind the other in one allocation: those of a scrape
/// are read in the order in which they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    /// Where each string ends.
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    state: RandomState,
}

// === impl Interner ===

impl Interner {
    /// How many strings there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string of a number that was given before.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, number)
    }

    /// The number of a string.
    pub(crate) fn find(&self, string: &[u8]) -> Option<u32> {
        let hash = self.state.hash_one(string);
        let found = self
            .numbers
            .find(hash, |&number| self.get(number) == string);
        found.copied()
    }

    /// Whether `number` was given to `string`.
    pub(crate) fn is(&self, number: u32, string: &[u8]) -> bool {
        (number as usize) < self.len() && self.get(number) == string
    }

    /// The number of a string, which is a new one where the string is.
    pub(crate) fn intern(&mut self, string: &[u8]) -> u32 {
        if let Some(number) = self.find(string) {
            return number;
        }
        let number = self.len() as u32;
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
        let (bytes, ends, state) = (&self.bytes, &self.ends, &self.state);
        self.numbers
            .insert_unique(state.hash_one(string), number, |&number| {
                state.hash_one(slice(bytes, ends, number))
            });
        number
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let at = number as usize;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[at]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_keeps_its_number() {
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
