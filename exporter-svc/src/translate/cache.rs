//! Cache of encoded labels.
//!
//! Usually the labels of a series are copied from a point's attributes. They are
//! encoded label by label if relabeling rules must see them or if a label conflicts
//! with an added one. A series returns at every scrape interval with the same name and
//! attributes, so the result is cached.
//!
//! Each shard has two generations. A hit moves its entry to the young generation. When
//! the young generation exceeds half of the shard's bound, the old one is dropped and
//! the young one becomes old. This keeps the used entries without an LRU list to
//! maintain on every hit.

use std::hash::BuildHasher;

use hashbrown::{HashTable, hash_table::Entry};
use parking_lot::Mutex;

use crate::remote_write::part::EncodedLabels;

/// Bounded cache of the encoded labels of data points.
#[derive(Debug)]
pub struct LabelCache {
    hasher: foldhash::fast::RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// Shard of the cache with its own lock.
#[derive(Debug)]
struct Shard {
    young: HashTable<Cached>,
    old: HashTable<Cached>,
    young_bytes: usize,
    /// Maximum of `young_bytes`.
    half: usize,
}

/// Cached series of one data point.
#[derive(Debug)]
struct Cached {
    key: Box<[u8]>,
    series: Box<[EncodedLabels]>,
}

/// Number of shards.
const SHARDS: usize = 64;
/// Size of an entry beside its bytes: pointers and headers of two boxes.
const ENTRY_OVERHEAD: usize = 96;

// === impl LabelCache ===

impl LabelCache {
    /// Creates a cache of about `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                young: HashTable::new(),
                old: HashTable::new(),
                young_bytes: 0,
                half: bytes / SHARDS / 2,
            })
        };
        Self {
            hasher: foldhash::fast::RandomState::default(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    /// Calls `use_series` with the series of `key`, and encodes them with `render` on a
    /// miss.
    ///
    /// # Errors
    /// Returns the error of `render`.
    pub fn with<E>(
        &self,
        key: &[u8],
        render: impl FnOnce() -> Result<Box<[EncodedLabels]>, E>,
        use_series: impl FnOnce(&[EncodedLabels]),
    ) -> Result<(), E> {
        let hash = self.hasher.hash_one(key);
        // Uses the high bits of the hash because the tables use the low ones.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        let mut shard = shard.lock();
        use_series(shard.series(&self.hasher, hash, key, render)?);
        Ok(())
    }
}

// === impl Shard ===

impl Shard {
    fn series<E>(
        &mut self,
        hasher: &foldhash::fast::RandomState,
        hash: u64,
        key: &[u8],
        render: impl FnOnce() -> Result<Box<[EncodedLabels]>, E>,
    ) -> Result<&[EncodedLabels], E> {
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

    /// Looks up `key` and returns true on a miss.
    fn misses(cache: &LabelCache, key: &[u8]) -> bool {
        let mut missed = false;
        let render = || {
            missed = true;
            let labels = key.into();
            Ok::<_, Infallible>([EncodedLabels { labels, hash: 0 }].into())
        };
        let used = |series: &[EncodedLabels]| assert_eq!(*series[0].labels, *key);
        cache.with(key, render, used).unwrap();
        missed
    }

    #[test]
    fn caches_encoded_labels() {
        let cache = LabelCache::new(1 << 20);
        assert!(misses(&cache, b"a"));
        assert!(misses(&cache, b"b"));
        assert!(!misses(&cache, b"a"));
    }

    #[test]
    fn evicts_entries_that_are_not_used() {
        let cache = LabelCache::new(4000 * SHARDS);
        misses(&cache, b"used");
        misses(&cache, b"unused");
        for i in 0..100 * SHARDS as u32 {
            misses(&cache, &i.to_le_bytes());
            assert!(!misses(&cache, b"used"));
        }
        assert!(misses(&cache, b"unused"));
        let entries = cache.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        });
        assert!(entries.sum::<usize>() < 40 * SHARDS);
    }

    #[test]
    fn does_not_cache_errors() {
        let cache = LabelCache::new(4000 * SHARDS);
        assert_eq!(cache.with(b"a", || Err("no"), |_| {}), Err("no"));
        assert!(misses(&cache, b"a"));
    }
}
