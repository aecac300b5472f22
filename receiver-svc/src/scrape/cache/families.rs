//! What a target says of its metric families.

use crate::{
    exposition::MetricType,
    scrape::{interner::Interner, sample::Metadata},
};

/// All families by name.
#[derive(Debug, Default)]
pub(crate) struct Families {
    names: Interner,
    list: Vec<Family>,
}

/// One family.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// What was said of it last. What is not repeated stays.
    pub(crate) metadata: Metadata,
    /// The iteration in which anything was said last.
    seen: u64,
}

/// For how many scrapes a family is remembered that the target does not mention.
const KEPT: u64 = 10;

// === impl Families ===

impl Families {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, family: u32) -> &Family {
        &self.list[family as usize]
    }

    pub(crate) fn set_type(&mut self, name: &str, metric_type: MetricType, iteration: u64) -> u32 {
        let (number, metadata) = self.seen(name.as_bytes(), name, iteration);
        metadata.metric_type = metric_type;
        number
    }

    pub(crate) fn set_help(&mut self, name: &str, help: &str, iteration: u64) -> u32 {
        let (number, metadata) = self.seen(name.as_bytes(), name, iteration);
        update(&mut metadata.help, help);
        number
    }

    pub(crate) fn set_unit(&mut self, name: &str, unit: &str, iteration: u64) -> u32 {
        let (number, metadata) = self.seen(name.as_bytes(), name, iteration);
        update(&mut metadata.unit, unit);
        number
    }

    /// Sets what is said of a report series, which stands apart from what the
    /// target may expose under the same name.
    pub(crate) fn set_report(&mut self, metadata: &Metadata, iteration: u64) -> u32 {
        // No name is of these bytes.
        let key = [metadata.family.as_bytes(), b"\xff"].concat();
        let (number, known) = self.seen(&key, &metadata.family, iteration);
        if known != metadata {
            known.clone_from(metadata);
        }
        number
    }

    fn seen(&mut self, key: &[u8], name: &str, iteration: u64) -> (u32, &mut Metadata) {
        let number = self.names.intern(key);
        if number as usize == self.list.len() {
            self.list.push(Family {
                metadata: Metadata {
                    family: name.to_owned(),
                    ..Metadata::default()
                },
                seen: iteration,
            });
        }
        let family = &mut self.list[number as usize];
        family.seen = iteration;
        (number, &mut family.metadata)
    }

    /// Forgets families that were not mentioned for long; true where the others
    /// got new numbers.
    pub(super) fn forget(&mut self, iteration: u64) -> bool {
        // What was reported of a scrape counts for the next one already.
        let gone = |family: &Family| iteration.saturating_sub(family.seen) > KEPT;
        if !self.list.iter().any(gone) {
            return false;
        }
        let mut names = Interner::default();
        for (number, _) in (0..).zip(&self.list).filter(|(_, family)| !gone(family)) {
            names.intern(self.names.get(number));
        }
        self.list.retain(|family| !gone(family));
        self.names = names;
        true
    }
}

fn update(text: &mut String, new: &str) {
    if text != new {
        new.clone_into(text);
    }
}
