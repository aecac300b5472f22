//! Metadata of a target's metric families.

use super::{interner::Interner, sample::Metadata};
use crate::exposition::MetricType;

/// All metric families of a target, by name.
#[derive(Debug, Default)]
pub(crate) struct Families {
    names: Interner,
    list: Vec<Family>,
    /// Bytes of the texts of all families.
    text_bytes: usize,
}

/// Metric family.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// Metadata as last exposed. A field stays until the target exposes a new value.
    pub(crate) metadata: Metadata,
    /// Iteration that last exposed any metadata of the family.
    seen: u64,
}

/// Number of scrapes after which a family without metadata is evicted.
const MAX_AGE: u64 = 10;

// === impl Families ===

impl Families {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the allocated bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.names.allocated() + self.list.capacity() * size_of::<Family>() + self.text_bytes
    }

    pub(crate) fn get(&self, family: u32) -> &Family {
        &self.list[family as usize]
    }

    pub(crate) fn set_type(&mut self, name: &str, metric_type: MetricType, iteration: u64) -> u32 {
        let (id, metadata) = self.touch(name.as_bytes(), name, iteration);
        metadata.metric_type = metric_type;
        id
    }

    pub(crate) fn set_help(&mut self, name: &str, help: &str, iteration: u64) -> u32 {
        let (id, metadata) = self.touch(name.as_bytes(), name, iteration);
        let before = metadata.help.len();
        update(&mut metadata.help, help);
        self.text_bytes = (self.text_bytes + help.len()).saturating_sub(before);
        id
    }

    pub(crate) fn set_unit(&mut self, name: &str, unit: &str, iteration: u64) -> u32 {
        let (id, metadata) = self.touch(name.as_bytes(), name, iteration);
        let before = metadata.unit.len();
        update(&mut metadata.unit, unit);
        self.text_bytes = (self.text_bytes + unit.len()).saturating_sub(before);
        id
    }

    /// Sets the metadata of a report series. It is separate from that of a family which the
    /// target may expose under the same name.
    pub(crate) fn set_report(&mut self, metadata: &Metadata, iteration: u64) -> u32 {
        // The key is not valid UTF-8, so no exposed name equals it.
        let key = [metadata.family.as_bytes(), b"\xff"].concat();
        let (id, known) = self.touch(&key, &metadata.family, iteration);
        if known != metadata {
            known.clone_from(metadata);
        }
        id
    }

    /// Returns the ID and metadata of a family and marks it as seen. Adds it if it is new.
    fn touch(&mut self, key: &[u8], name: &str, iteration: u64) -> (u32, &mut Metadata) {
        let id = self.names.intern(key);
        if id as usize == self.list.len() {
            self.text_bytes += name.len();
            self.list.push(Family {
                metadata: Metadata {
                    family: name.to_owned(),
                    ..Metadata::default()
                },
                seen: iteration,
            });
        }
        let family = &mut self.list[id as usize];
        family.seen = iteration;
        (id, &mut family.metadata)
    }

    /// Evicts old families. Returns true if the other families got new IDs.
    pub(crate) fn evict(&mut self, iteration: u64) -> bool {
        // Report series of the last scrape are already marked with the next iteration, so
        // the age saturates at 0.
        let is_old = |family: &Family| iteration.saturating_sub(family.seen) > MAX_AGE;
        if !self.list.iter().any(is_old) {
            return false;
        }
        let mut names = Interner::default();
        for (id, _) in (0..).zip(&self.list).filter(|(_, family)| !is_old(family)) {
            names.intern(self.names.get(id));
        }
        self.list.retain(|family| !is_old(family));
        let texts = self.list.iter().map(|family| {
            let Metadata {
                family, help, unit, ..
            } = &family.metadata;
            family.len() + help.len() + unit.len()
        });
        self.text_bytes = texts.sum();
        self.names = names;
        true
    }
}

fn update(text: &mut String, new: &str) {
    if text != new {
        new.clone_into(text);
    }
}
