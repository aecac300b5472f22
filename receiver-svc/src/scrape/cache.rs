//! Scrape cache: state that one scrape of a target leaves to the next.
//!
//! A cached series is found by its exposed text, and its labels are stored as encoded
//! OTLP attributes. So it needs no label parsing, relabeling or encoding again. The
//! cache also records which series the last scrape exposed, for staleness markers, and
//! the metadata of metric families.
//!
//! An iteration is one scrape, successful or failed. As in Prometheus, a successful
//! scrape evicts the entries that it does not expose.

use mesh_base::budget::Reservation;
use mesh_model::labels::{Labels, METRIC_NAME};

use super::family;
use crate::{
    exposition::{Format, MetricType},
    samples::{Families, Interner, SeriesTable},
};

/// Scrape cache of one target.
#[derive(Debug)]
pub struct Cache {
    /// Number of the current scrape, from 1.
    iteration: u64,
    /// First iteration of the live entries. Entries last seen before it are evicted.
    live_since: u64,
    /// Number of live entries.
    live: usize,
    /// Number of live entries that the current scrape has exposed so far.
    seen: usize,
    /// True if memory may have to be released before the next scrape.
    needs_maintenance: bool,
    /// True if a scrape failed because the cache would have needed too much memory.
    has_overflowed: bool,
    /// Number of entries and families after the last successful scrape.
    successful: usize,
    texts: Interner,
    entries: Vec<Entry>,
    /// Entry expected next, as targets expose series in a stable order.
    expected: u32,
    /// Format of the body that was read last.
    format: Option<Format>,
    pub(crate) series: SeriesTable,
    pub(crate) families: Families,
    /// Memory that is reserved for the cache.
    pub(crate) reservation: Option<Reservation>,
}

/// Cache entry of one series text.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Iteration that last exposed it.
    seen: u64,
    /// ID of the series; `None` if relabeling drops it.
    series: Option<u32>,
    /// Family compared last, its type, and whether the series belongs to it.
    family: Option<(u32, MetricType, bool)>,
}

/// Result of a successful cache lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CacheHit {
    /// Relabeling drops the series.
    Dropped,
    /// Relabeling keeps the series, so its samples are stored.
    Stored {
        entry: u32,
        series: u32,
        /// True if this scrape has exposed the series before.
        repeated: bool,
    },
}

/// Number of entries that failed scrapes may add before eviction.
const FAILED_ENTRIES: usize = 1000;

// === impl Cache ===

impl Cache {
    /// Creates an empty cache.
    pub fn new() -> Self {
        Self {
            iteration: 1,
            live_since: 0,
            live: 0,
            seen: 0,
            needs_maintenance: false,
            has_overflowed: false,
            successful: 0,
            texts: Interner::default(),
            entries: Vec::new(),
            expected: 0,
            format: None,
            series: SeriesTable::default(),
            families: Families::default(),
            reservation: None,
        }
    }

    /// Returns the allocated bytes, without native histograms.
    pub(crate) fn allocated(&self) -> usize {
        self.texts.allocated()
            + self.entries.capacity() * size_of::<Entry>()
            + self.series.allocated()
            + self.families.allocated()
    }

    /// Returns the number of the current scrape.
    pub(crate) fn iteration(&self) -> u64 {
        self.iteration
    }

    /// Sets the format of the next body. Removes all texts if it differs from the last one, as
    /// a text may be valid in one format only.
    pub(crate) fn set_format(&mut self, format: Format) {
        if self
            .format
            .replace(format)
            .is_some_and(|last| last != format)
        {
            self.clear_texts();
        }
    }

    /// Returns the text of the series that the body probably exposes next, or an empty text.
    pub(crate) fn expected_text(&self) -> &[u8] {
        if (self.expected as usize) < self.texts.len() {
            self.texts.get(self.expected)
        } else {
            b""
        }
    }

    /// Looks up a series by its text and marks it as exposed by this scrape.
    pub(crate) fn find(&mut self, text: &[u8]) -> Option<CacheHit> {
        let entry = if self.texts.is(self.expected, text) {
            self.expected
        } else {
            self.texts.find(text)?
        };
        self.expected = entry + 1;
        let found = &mut self.entries[entry as usize];
        if found.seen < self.live_since {
            return None;
        }
        let repeated = found.seen == self.iteration;
        found.seen = self.iteration;
        self.seen += usize::from(!repeated);
        Some(match found.series {
            None => CacheHit::Dropped,
            Some(series) => CacheHit::Stored {
                entry,
                series,
                repeated,
            },
        })
    }

    /// Inserts the series of a text and returns its entry.
    pub(crate) fn insert(&mut self, text: &[u8], series: Option<u32>) -> u32 {
        let entry = self.texts.intern(text);
        let new = Entry {
            seen: self.iteration,
            series,
            family: None,
        };
        match self.entries.get_mut(entry as usize) {
            Some(evicted) => *evicted = new,
            None => self.entries.push(new),
        }
        self.expected = entry + 1;
        self.live += 1;
        self.seen += 1;
        entry
    }

    /// Returns true if the series of an entry belongs to `family`.
    pub(crate) fn belongs_to(&mut self, entry: u32, family: u32) -> bool {
        let metric_type = self.families.get(family).metadata.metric_type;
        let known = &mut self.entries[entry as usize];
        match (known.family, known.series) {
            (Some((of, as_type, is)), _) if of == family && as_type == metric_type => is,
            (_, None) => false,
            (_, Some(series)) => {
                let name = self.series.name_of(series);
                let metadata = &self.families.get(family).metadata;
                let is = family::is_member(name, &metadata.family, metric_type);
                known.family = Some((family, metric_type, is));
                is
            }
        }
    }

    /// Returns the series that the last scrape exposed and this one has not.
    pub(crate) fn ended(&self) -> Vec<u32> {
        self.series.tracked_in(self.iteration - 1)
    }

    /// Marks a series for a staleness marker once the target no longer exposes it.
    pub(crate) fn track(&mut self, series: u32) {
        self.series.get_mut(series).tracked = self.iteration;
    }

    /// Removes all texts, after a change that may map them to other series.
    ///
    /// Series that the last scrape exposed still get their staleness markers.
    pub(crate) fn clear_texts(&mut self) {
        (self.texts, self.entries) = (Interner::default(), Vec::new());
        (self.live, self.expected) = (0, 0);
    }

    /// Ends the current scrape.
    ///
    /// A successful scrape evicts entries that it did not expose. A failed one does so
    /// only if failed scrapes have added too many entries.
    pub(crate) fn end_iteration(&mut self, successful: bool) {
        let count = self.live + self.families.len();
        if successful {
            self.successful = count;
        }
        if successful || count > self.successful * 2 + FAILED_ENTRIES {
            self.live_since = self.iteration;
            self.live = self.seen;
            self.needs_maintenance = true;
        }
        self.iteration += 1;
        self.seen = 0;
        self.expected = 0;
    }

    /// Drops all but the stored series before the next scrape, after one that would have needed
    /// too much memory. Otherwise its series would make the next scrape fail too.
    pub(crate) fn overflow(&mut self) {
        self.has_overflowed = true;
    }

    /// Releases memory before the next scrape. IDs of series and families may change.
    pub(crate) fn maintain(&mut self) {
        if std::mem::take(&mut self.has_overflowed) {
            self.needs_maintenance = false;
            self.clear_texts();
            self.families = Families::default();
            let ended = self.ended().into_iter();
            let stored = ended.filter(|series| self.series.get(*series).last.is_some());
            self.compact(stored.collect());
            self.release();
            return;
        }
        if !std::mem::take(&mut self.needs_maintenance) {
            return;
        }
        if self.families.evict(self.iteration - 1) {
            for entry in &mut self.entries {
                entry.family = None;
            }
        }
        // Evicted entries stay in memory until there are enough to justify a copy.
        if self.entries.len() > self.live + self.live / 2 + FAILED_ENTRIES {
            self.compact(self.ended());
            self.release();
        }
    }

    /// Releases the reservation of memory that is free now.
    fn release(&mut self) {
        let allocated = self.allocated();
        if let Some(reservation) = &mut self.reservation {
            reservation.shrink_to(allocated);
        }
    }

    /// Releases the memory of evicted entries, and of series without a live entry that are not
    /// among `ended`.
    fn compact(&mut self, ended: Vec<u32>) {
        let mut texts = Interner::default();
        let mut entries = Vec::with_capacity(self.live);
        let mut series = SeriesTable::default();
        for tracked in ended {
            series.move_from(tracked, &mut self.series);
        }
        for (id, entry) in self.entries.iter().enumerate() {
            if entry.seen < self.live_since {
                continue;
            }
            texts.intern(self.texts.get(id as u32));
            entries.push(Entry {
                series: entry
                    .series
                    .map(|old| series.move_from(old, &mut self.series)),
                family: None,
                ..*entry
            });
        }
        (self.texts, self.entries, self.series) = (texts, entries, series);
    }

    /// Returns the ID of the series with these labels, if there is one.
    pub(crate) fn series_of(&self, labels: &Labels) -> Option<u32> {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        self.series.find(name, labels)
    }

    /// Returns the ID of the series with these labels, including `__name__`. Adds the
    /// series if it is new.
    pub(crate) fn intern(&mut self, labels: &Labels) -> u32 {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        self.series.intern(name, labels)
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(super) mod tests;
