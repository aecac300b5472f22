//! What a scrape remembers of the scrapes before it.
//!
//! The cache spares a series that was there before its parsing, relabeling and
//! encoding: it is found by its text as exposed, and its labels stand ready as
//! encoded OTLP attributes. It also knows which series were there the last time,
//! so that those that are gone can be marked stale, and what the target said of
//! its metric families.
//!
//! An iteration is one scrape, failed ones included. As in Prometheus an entry
//! is forgotten where a successful scrape does not have it.

use mesh::labels::{Labels, METRIC_NAME};

use super::family;
use crate::exposition::MetricType;

mod families;
mod series;

use self::families::Families;
pub(crate) use self::series::{Role, Series, SeriesTable};
use super::interner::Interner;

/// The scrape cache of one target.
#[derive(Debug)]
pub struct Cache {
    /// Number of the current scrape, from 1.
    iteration: u64,
    attempts: u64,
    /// Entries that were not seen since this iteration are forgotten.
    live_since: u64,
    /// How many entries are not.
    live: usize,
    /// How many of them were seen in the current scrape.
    seen: usize,
    /// There may be something to give back before the next scrape.
    untidy: bool,
    /// How many entries and families there were at the last success.
    successful: usize,
    texts: Interner,
    entries: Vec<Entry>,
    /// The entry that is likely to be asked for next: targets keep their order.
    expected: u32,
    pub(crate) series: SeriesTable,
    pub(crate) families: Families,
}

/// What is known of a series as exposed.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The iteration in which it was seen last.
    seen: u64,
    /// Its number among the series; `None` where relabeling drops it.
    series: Option<u32>,
    /// The family that was compared last, and whether it is the series' own.
    family: Option<(u32, MetricType, bool)>,
}

/// A series as exposed that was found in the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// Relabeling drops it.
    Dropped,
    /// It is stored.
    Known {
        entry: u32,
        series: u32,
        /// It was seen before in this scrape.
        again: bool,
    },
}

/// Entries beyond those of a successful scrape that failing ones may leave.
const FAILED_ENTRIES: usize = 1000;

// === impl Cache ===

impl Cache {
    /// A cache that knows nothing.
    pub fn new() -> Self {
        Self {
            iteration: 1,
            attempts: 0,
            live_since: 0,
            live: 0,
            seen: 0,
            untidy: false,
            successful: 0,
            texts: Interner::default(),
            entries: Vec::new(),
            expected: 0,
            series: SeriesTable::default(),
            families: Families::default(),
        }
    }

    /// The number of the current scrape.
    pub(crate) fn iteration(&self) -> u64 {
        self.iteration
    }

    /// A number for appending a body that no attempt before had.
    pub(crate) fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// Looks a series up by its text and notes that it was seen.
    pub(crate) fn find(&mut self, text: &[u8]) -> Option<Found> {
        let entry = match self.texts.is(self.expected, text) {
            true => self.expected,
            false => self.texts.find(text)?,
        };
        self.expected = entry + 1;
        let found = &mut self.entries[entry as usize];
        if found.seen < self.live_since {
            return None;
        }
        let again = found.seen == self.iteration;
        found.seen = self.iteration;
        self.seen += usize::from(!again);
        Some(match found.series {
            None => Found::Dropped,
            Some(series) => Found::Known {
                entry,
                series,
                again,
            },
        })
    }

    /// Remembers what a text stands for and returns its entry.
    pub(crate) fn insert(&mut self, text: &[u8], series: Option<u32>) -> u32 {
        let entry = self.texts.intern(text);
        let new = Entry {
            seen: self.iteration,
            series,
            family: None,
        };
        match self.entries.get_mut(entry as usize) {
            Some(forgotten) => *forgotten = new,
            None => self.entries.push(new),
        }
        self.expected = entry + 1;
        self.live += 1;
        self.seen += 1;
        entry
    }

    /// Whether the series of an entry is one of `family`.
    pub(crate) fn is_part_of(&mut self, entry: u32, family: u32) -> bool {
        let metric_type = self.families.get(family).metadata.metric_type;
        let known = &mut self.entries[entry as usize];
        match (known.family, known.series) {
            (Some((of, as_type, is)), _) if of == family && as_type == metric_type => is,
            (_, None) => false,
            (_, Some(series)) => {
                let name = self.series.name_of(series);
                let metadata = &self.families.get(family).metadata;
                let is = family::is_part_of(name, &metadata.family, metric_type);
                known.family = Some((family, metric_type, is));
                is
            }
        }
    }

    /// The series that were there in the last scrape and are not in this one.
    pub(crate) fn ended(&self) -> Vec<u32> {
        self.series.tracked_in(self.iteration - 1)
    }

    /// Notes that a series will have ended once it is no longer exposed.
    pub(crate) fn track(&mut self, series: u32) {
        self.series.get_mut(series).tracked = self.iteration;
    }

    /// Forgets what texts stand for, as they may stand for other series now. Series
    /// that were there in the last scrape still end once they are not.
    pub(crate) fn forget_texts(&mut self) {
        (self.texts, self.entries) = (Interner::default(), Vec::new());
        (self.live, self.expected) = (0, 0);
    }

    /// Ends the current scrape. `successful` forgets what it did not have; so
    /// does a failed one, once many of them have left too much.
    pub(crate) fn end_iteration(&mut self, successful: bool) {
        let count = self.live + self.families.len();
        if successful {
            self.successful = count;
        }
        if successful || count > self.successful * 2 + FAILED_ENTRIES {
            self.live_since = self.iteration;
            self.live = self.seen;
            self.untidy = true;
        }
        self.iteration += 1;
        self.seen = 0;
        self.expected = 0;
    }

    /// Gets ready for the next scrape. Numbers of series and families that were
    /// given before may change.
    pub(crate) fn tidy(&mut self) {
        if !std::mem::take(&mut self.untidy) {
            return;
        }
        if self.families.forget(self.iteration - 1) {
            for entry in &mut self.entries {
                entry.family = None;
            }
        }
        // What is forgotten keeps its place until that is worth the work.
        if self.entries.len() > self.live + self.live / 2 + FAILED_ENTRIES {
            self.compact();
        }
    }

    /// Gives the memory of what is forgotten back. Histories of series go with
    /// their last entry.
    fn compact(&mut self) {
        let mut texts = Interner::default();
        let mut entries = Vec::with_capacity(self.live);
        let mut series = SeriesTable::default();
        for tracked in self.ended() {
            series.adopt(tracked, &mut self.series);
        }
        for (number, entry) in self.entries.iter().enumerate() {
            if entry.seen < self.live_since {
                continue;
            }
            texts.intern(self.texts.get(number as u32));
            entries.push(Entry {
                series: entry.series.map(|old| series.adopt(old, &mut self.series)),
                family: None,
                ..*entry
            });
        }
        (self.texts, self.entries, self.series) = (texts, entries, series);
    }

    /// The number of the series with these labels, if it is known.
    pub(crate) fn series_of(&self, labels: &Labels) -> Option<u32> {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        self.series.find(name, labels)
    }

    /// The number of the series with these labels, `__name__` included.
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
mod tests;
