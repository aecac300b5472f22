//! Rendered labels by what they were rendered from.
//!
//! Where labels cannot be written straight from a point's attributes, because
//! relabeling rules have to see them or a label is in the way of ours, they are
//! rendered once and copied ever after: a series comes back every interval with
//! the same encoded name and attributes.
//!
//! Each part of the cache has two generations. What is used moves to the young
//! one, and when that has grown to half of the part's bound, the old one is
//! forgotten and the young one becomes the old. That keeps what is in use without
//! a list to maintain on every hit.

use std::{
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use hashbrown::{HashTable, hash_table::Entry};

use crate::remote_write::piece::Rendered;

/// A bounded cache of the series of data points.
#[derive(Debug)]
pub struct RenderCache {
    hasher: foldhash::fast::RandomState,
    parts: Box<[Mutex<Part>]>,
}

/// A part of the cache, so that translations do not wait for each other.
#[derive(Debug)]
struct Part {
    young: HashTable<Cached>,
    old: HashTable<Cached>,
    young_bytes: usize,
    /// What `young_bytes` may grow to.
    half: usize,
}

/// The series of one data point.
#[derive(Debug)]
struct Cached {
    key: Box<[u8]>,
    series: Box<[Rendered]>,
}

/// Into how many parts the cache is divided.
const PARTS: usize = 64;
/// What an entry costs beside its bytes: two boxes' pointers and headers.
const ENTRY_OVERHEAD: usize = 96;

// === impl RenderCache ===

impl RenderCache {
    /// A cache of about this many bytes.
    pub fn new(bytes: usize) -> Self {
        let part = || {
            Mutex::new(Part {
                young: HashTable::new(),
                old: HashTable::new(),
                young_bytes: 0,
                half: bytes / PARTS / 2,
            })
        };
        Self {
            hasher: foldhash::fast::RandomState::default(),
            parts: std::iter::repeat_with(part).take(PARTS).collect(),
        }
    }

    /// Hands the series rendered from `key` to `use_them`, rendering them if they
    /// are not cached.
    ///
    /// # Errors
    /// Those of `render`.
    pub fn with<E>(
        &self,
        key: &[u8],
        render: impl FnOnce() -> Result<Box<[Rendered]>, E>,
        use_them: impl FnOnce(&[Rendered]),
    ) -> Result<(), E> {
        let hash = self.hasher.hash_one(key);
        // The high bits: the tables use the low ones.
        let part = &self.parts[(hash >> 32) as usize % PARTS];
        // A part is whole after every step, whatever panicked.
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        use_them(part.series(&self.hasher, hash, key, render)?);
        Ok(())
    }
}

// === impl Part ===

impl Part {
    fn series<E>(
        &mut self,
        hasher: &foldhash::fast::RandomState,
        hash: u64,
        key: &[u8],
        render: impl FnOnce() -> Result<Box<[Rendered]>, E>,
    ) -> Result<&[Rendered], E> {
        if self.young_bytes > self.half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let rehash = |cached: &Cached| hasher.hash_one(&*cached.key);
        let entry = self.young.entry(hash, |cached| *cached.key == *key, rehash);
        let vacant = match entry {
            Entry::Occupied(hit) => return Ok(&hit.into_mut().series),
            Entry::Vacant(vacant) => vacant,
        };
        let cached = match self.old.find_entry(hash, |cached| *cached.key == *key) {
            Ok(hit) => hit.remove().0,
            Err(_) => Cached {
                key: key.into(),
                series: render()?,
            },
        };
        self.young_bytes += cached.size();
        Ok(&vacant.insert(cached).into_mut().series)
    }
}

// === impl Cached ===

impl Cached {
    fn size(&self) -> usize {
        let labels = self.series.iter().map(|s| s.labels.len() + ENTRY_OVERHEAD);
        self.key.len() + ENTRY_OVERHEAD + labels.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Looks `key` up and tells whether it had to be rendered.
    fn misses(cache: &RenderCache, key: &[u8]) -> bool {
        let mut missed = false;
        let render = || {
            missed = true;
            let labels = key.into();
            Ok::<_, Infallible>([Rendered { labels, hash: 0 }].into())
        };
        let used = |series: &[Rendered]| assert_eq!(*series[0].labels, *key);
        cache.with(key, render, used).unwrap();
        missed
    }

    #[test]
    fn what_was_rendered_is_remembered() {
        let cache = RenderCache::new(1 << 20);
        assert!(misses(&cache, b"a"));
        assert!(misses(&cache, b"b"));
        assert!(!misses(&cache, b"a"));
    }

    #[test]
    fn what_is_in_use_stays_and_the_rest_goes() {
        let cache = RenderCache::new(4000 * PARTS);
        misses(&cache, b"used");
        misses(&cache, b"unused");
        for i in 0..100 * PARTS as u32 {
            misses(&cache, &i.to_le_bytes());
            assert!(!misses(&cache, b"used"));
        }
        assert!(misses(&cache, b"unused"));
        let entries = cache.parts.iter().map(|part| {
            let part = part.lock().unwrap();
            part.young.len() + part.old.len()
        });
        assert!(entries.sum::<usize>() < 40 * PARTS);
    }

    #[test]
    fn what_could_not_be_rendered_is_not_remembered() {
        let cache = RenderCache::new(4000 * PARTS);
        assert_eq!(cache.with(b"a", || Err("no"), |_| {}), Err("no"));
        assert!(misses(&cache, b"a"));
    }
}
