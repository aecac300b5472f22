//! Rendered labels by what they were rendered from.
//!
//! A series comes back every interval with the same encoded name and attributes,
//! so its labels are rendered once and copied ever after. The cache has two
//! generations: what is used moves to the young one, and when the young one has
//! grown to half of the bound, the old one is forgotten and the young one
//! becomes the old. That keeps what is in use without a list to maintain on
//! every hit.

use std::hash::BuildHasher;

use hashbrown::{HashTable, hash_table::Entry};

use crate::remote_write::piece::Rendered;

/// A bounded cache of the series of data points.
#[derive(Debug)]
pub struct RenderCache {
    hasher: foldhash::fast::RandomState,
    young: HashTable<Cached>,
    old: HashTable<Cached>,
    young_bytes: usize,
    /// What `young_bytes` may grow to.
    half: usize,
    /// Lookups that found nothing.
    misses: u64,
}

/// The series of one data point.
#[derive(Debug)]
struct Cached {
    key: Box<[u8]>,
    series: Box<[Rendered]>,
}

/// What an entry costs beside its bytes: two boxes' pointers and headers.
const ENTRY_OVERHEAD: usize = 96;

// === impl RenderCache ===

impl RenderCache {
    /// A cache of about this many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            young: HashTable::new(),
            old: HashTable::new(),
            young_bytes: 0,
            half: bytes / 2,
            misses: 0,
        }
    }

    /// The series rendered from `key`, rendering them if they are not cached.
    ///
    /// # Errors
    /// Those of `render`.
    pub fn series<E>(
        &mut self,
        key: &[u8],
        render: impl FnOnce() -> Result<Box<[Rendered]>, E>,
    ) -> Result<&[Rendered], E> {
        if self.young_bytes > self.half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let Self {
            hasher,
            young,
            old,
            young_bytes,
            misses,
            ..
        } = self;
        let hash = hasher.hash_one(key);
        let vacant = match young.entry(hash, |c| *c.key == *key, |c| hasher.hash_one(&*c.key)) {
            Entry::Occupied(hit) => return Ok(&hit.into_mut().series),
            Entry::Vacant(vacant) => vacant,
        };
        let cached = match old.find_entry(hash, |c| *c.key == *key) {
            Ok(hit) => hit.remove().0,
            Err(_) => {
                *misses += 1;
                Cached {
                    key: key.into(),
                    series: render()?,
                }
            }
        };
        *young_bytes += cached.size();
        Ok(&vacant.insert(cached).into_mut().series)
    }

    /// How many lookups had to render since this was asked last.
    pub fn take_misses(&mut self) -> u64 {
        std::mem::take(&mut self.misses)
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

    fn rendered(key: &[u8]) -> Result<Box<[Rendered]>, Infallible> {
        let labels = key.into();
        Ok(Box::new([Rendered { labels, hash: 0 }]))
    }

    /// Looks `key` up and tells whether it had to be rendered.
    fn misses(cache: &mut RenderCache, key: &[u8]) -> bool {
        let series = cache.series(key, || rendered(key)).unwrap();
        assert_eq!(*series[0].labels, *key);
        cache.take_misses() == 1
    }

    #[test]
    fn what_was_rendered_is_remembered() {
        let mut cache = RenderCache::new(1 << 20);
        assert!(misses(&mut cache, b"a"));
        assert!(misses(&mut cache, b"b"));
        assert!(!misses(&mut cache, b"a"));
    }

    #[test]
    fn what_is_in_use_stays_and_the_rest_goes() {
        let mut cache = RenderCache::new(4000);
        misses(&mut cache, b"used");
        misses(&mut cache, b"unused");
        for i in 0..100u32 {
            misses(&mut cache, &i.to_le_bytes());
            assert!(!misses(&mut cache, b"used"));
        }
        assert!(misses(&mut cache, b"unused"));
        assert!(cache.young.len() + cache.old.len() < 40);
    }

    #[test]
    fn what_could_not_be_rendered_is_not_remembered() {
        let mut cache = RenderCache::new(4000);
        assert_eq!(cache.series(b"a", || Err("no")), Err("no"));
        assert_eq!(cache.take_misses(), 1);
        assert!(misses(&mut cache, b"a"));
    }
}
