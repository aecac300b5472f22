//! The series of a target, by their final labels.
//!
//! Several texts may stand for one series: a target may reorder labels, and
//! relabeling may map two series to one. So what is known of a series stands
//! here and not in the entries of the cache.

use mesh::{
    float,
    labels::{BUCKET, Labels, QUANTILE},
};

use crate::{
    otlp::attributes,
    scrape::{interner::Interner, sample::SampleValue},
};

/// All series of a target.
#[derive(Debug, Default)]
pub(crate) struct SeriesTable {
    names: Interner,
    /// By the number of the name and the encoded attributes.
    keys: Interner,
    list: Vec<Series>,
    /// Sets of series that may make one point, likewise.
    groups: Interner,
}

/// One series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// What it is in a histogram or a summary.
    pub(crate) role: Role,
    /// The iteration in which it was tracked last, for staleness.
    pub(crate) tracked: u64,
    /// Time and value of its last sample that was delivered.
    pub(crate) last: Option<(i64, SampleValue)>,
    /// The attempt in which it was last appended to, and its sample there.
    pub(crate) appended: Option<(u64, u32)>,
}

/// What a series is by its name and labels: a candidate for a part of a
/// histogram or a summary.
///
/// Numbers of groups say which series have the same labels otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Role {
    /// It stands for itself.
    #[default]
    Single,
    /// `_bucket` with a bound in its canonical form.
    Bucket { group: u32, bound: f64 },
    /// A sample with a quantile in its canonical form.
    Quantile { group: u32, quantile: f64 },
    /// `_sum`.
    Sum { group: u32 },
    /// `_count`.
    Count { group: u32 },
}

/// Bytes of the number of a name at the start of a key.
const NAME: usize = size_of::<u32>();

// === impl SeriesTable ===

impl SeriesTable {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, series: u32) -> &Series {
        &self.list[series as usize]
    }

    pub(crate) fn get_mut(&mut self, series: u32) -> &mut Series {
        &mut self.list[series as usize]
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The number of the name that the series of a group have before their
    /// suffixes.
    pub(crate) fn group_name(&self, group: u32) -> u32 {
        name_in(self.groups.get(group))
    }

    /// The metric name of a series.
    pub(crate) fn name_of(&self, series: u32) -> &str {
        self.name_text(self.name(series))
    }

    /// The number of that name: equal for series of equal names.
    pub(crate) fn name(&self, series: u32) -> u32 {
        name_in(self.keys.get(series))
    }

    /// The name of a number.
    pub(crate) fn name_text(&self, name: u32) -> &str {
        // Only names of metrics are interned, which are UTF-8.
        std::str::from_utf8(self.names.get(name)).unwrap_or_default()
    }

    /// All labels but the name, as encoded attributes of a number data point.
    pub(crate) fn attributes_of(&self, series: u32) -> &[u8] {
        &self.keys.get(series)[NAME..]
    }

    /// The number of the series with these labels, if there is one.
    pub(super) fn find(&self, name: &str, labels: &Labels) -> Option<u32> {
        let mut key = self.names.find(name.as_bytes())?.to_le_bytes().to_vec();
        attributes::encode(labels, &mut key);
        self.keys.find(&key)
    }

    /// The number of the series with these labels.
    pub(super) fn intern(&mut self, name: &str, labels: &Labels) -> u32 {
        let mut key = self.names.intern(name.as_bytes()).to_le_bytes().to_vec();
        attributes::encode(labels, &mut key);
        let series = self.keys.intern(&key);
        if series as usize == self.list.len() {
            let role = self.role(name, labels, &key[NAME..]);
            self.list.push(Series {
                role,
                ..Series::default()
            });
        }
        series
    }

    /// The series that were tracked last in `iteration`.
    pub(super) fn tracked_in(&self, iteration: u64) -> Vec<u32> {
        // An iteration begins at 1, and 0 stands for never.
        let is = |&(_, series): &(u32, &Series)| iteration > 0 && series.tracked == iteration;
        (0..).zip(&self.list).filter(is).map(|(at, _)| at).collect()
    }

    /// Takes a series over from a table that will be thrown away.
    pub(super) fn adopt(&mut self, old: u32, from: &mut Self) -> u32 {
        let name = from.name_of(old).to_owned();
        let mut key = self.names.intern(name.as_bytes()).to_le_bytes().to_vec();
        key.extend_from_slice(from.attributes_of(old));
        let series = self.keys.intern(&key);
        if series as usize == self.list.len() {
            let mut adopted = std::mem::take(from.get_mut(old));
            adopted.role = self.regroup(adopted.role, from);
            self.list.push(adopted);
        }
        series
    }

    fn regroup(&mut self, role: Role, from: &Self) -> Role {
        let mut group = |old| {
            let attributes = &from.groups.get(old)[NAME..];
            self.group_of(from.names.get(from.group_name(old)), attributes)
        };
        match role {
            Role::Single => Role::Single,
            Role::Bucket { group: old, bound } => Role::Bucket {
                group: group(old),
                bound,
            },
            Role::Quantile {
                group: old,
                quantile,
            } => Role::Quantile {
                group: group(old),
                quantile,
            },
            Role::Sum { group: old } => Role::Sum { group: group(old) },
            Role::Count { group: old } => Role::Count { group: group(old) },
        }
    }

    fn role(&mut self, name: &str, labels: &Labels, attributes: &[u8]) -> Role {
        if let Some(base) = name.strip_suffix("_bucket")
            && let Some(bound) = canonical(labels.get(BUCKET))
        {
            let group = self.group_without(base, labels, BUCKET);
            return Role::Bucket { group, bound };
        }
        if let Some(quantile) = canonical(labels.get(QUANTILE)) {
            let group = self.group_without(name, labels, QUANTILE);
            return Role::Quantile { group, quantile };
        }
        if let Some(base) = name.strip_suffix("_sum") {
            let group = self.group_of(base.as_bytes(), attributes);
            return Role::Sum { group };
        }
        if let Some(base) = name.strip_suffix("_count") {
            let group = self.group_of(base.as_bytes(), attributes);
            return Role::Count { group };
        }
        Role::Single
    }

    fn group_without(&mut self, base: &str, labels: &Labels, label: &str) -> u32 {
        let mut others = labels.to_builder();
        others.del(label);
        let mut attributes = Vec::new();
        attributes::encode(&others.build(), &mut attributes);
        self.group_of(base.as_bytes(), &attributes)
    }

    fn group_of(&mut self, base: &[u8], attributes: &[u8]) -> u32 {
        let mut key = self.names.intern(base).to_le_bytes().to_vec();
        key.extend_from_slice(attributes);
        self.groups.intern(&key)
    }
}

/// The number of the name at the start of a key.
fn name_in(key: &[u8]) -> u32 {
    let (name, _) = key.split_at(NAME);
    name.try_into().map_or(0, u32::from_le_bytes)
}

/// The number that a label holds, where it is written as it would be again.
fn canonical(text: Option<&str>) -> Option<f64> {
    let text = text?;
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text.parse().ok()?,
    };
    (float::openmetrics(value) == text && !value.is_nan()).then_some(value)
}
