//! Series of a target, by their final labels.
//!
//! Several texts may map to one series: a target may reorder labels, and relabeling may
//! give two series the same labels. So the state of a series is here, and the scrape
//! cache refers to it by ID.

use mesh_model::labels::{BUCKET, Labels, METRIC_NAME, QUANTILE};
use mesh_wire::float;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    attributes::{self, Attributes},
    interner::{Interner, make_room},
    sample::SampleValue,
};

/// All series of a target.
///
/// Most series share most of their labels. So each label is stored once, and a series refers
/// to its labels by ID.
#[derive(Debug, Default)]
pub(crate) struct SeriesTable {
    names: Interner,
    /// Labels, each encoded as one attribute of a `NumberDataPoint`.
    pairs: Interner,
    /// Series keys: the ID of the name, then those of the labels, sorted by label name.
    keys: Interner<u32>,
    list: Vec<Series>,
    /// Keys of groups: series that may form one histogram or summary data point. A key has
    /// the ID of the base name, then those of the shared labels.
    groups: Interner<u32>,
}

/// State of one series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Role of the series in a histogram or summary.
    pub(crate) role: Role,
    /// Last iteration that marked the series for a staleness marker.
    pub(crate) tracked: u64,
    /// Time and value of the last committed sample.
    pub(crate) last: Option<(i64, SampleValue)>,
    /// Index of the last appended sample, if that is one of this series. Otherwise the current
    /// scrape has appended none.
    pub(crate) appended: u32,
    /// Length of the encoded attributes in bytes.
    attributes_len: u32,
}

/// Possible role of a series in a histogram or summary, by its name and labels.
///
/// Series of one group have the same base name, and the same labels except for the bound
/// or quantile.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Role {
    /// No role.
    #[default]
    Single,
    /// `_bucket` series with a bound in canonical form.
    Bucket { group: u32, bound: f64 },
    /// Series with a quantile in canonical form.
    Quantile { group: u32, quantile: f64 },
    /// `_sum` series.
    Sum { group: u32 },
    /// `_count` series.
    Count { group: u32 },
}

// === impl SeriesTable ===

impl SeriesTable {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the allocated bytes, without native histograms.
    pub(crate) fn allocated(&self) -> usize {
        let texts = self.names.allocated() + self.pairs.allocated();
        let keys = self.keys.allocated() + self.groups.allocated();
        texts + keys + self.list.capacity() * size_of::<Series>()
    }

    pub(crate) fn get(&self, series: u32) -> &Series {
        &self.list[series as usize]
    }

    pub(crate) fn get_mut(&mut self, series: u32) -> &mut Series {
        &mut self.list[series as usize]
    }

    /// Returns the number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Returns the ID of a group's base name: the name of its series without suffix.
    pub(crate) fn group_name_id(&self, group: u32) -> u32 {
        self.groups.get(group)[0]
    }

    /// Returns the metric name of a series.
    pub(crate) fn name_of(&self, series: u32) -> &str {
        self.name_by_id(self.name_id(series))
    }

    /// Returns the ID of a series' metric name, equal for series with equal names.
    pub(crate) fn name_id(&self, series: u32) -> u32 {
        self.keys.get(series)[0]
    }

    /// Returns the name with an ID.
    pub(crate) fn name_by_id(&self, name: u32) -> &str {
        // Only metric names are interned, which are valid UTF-8.
        std::str::from_utf8(self.names.get(name)).unwrap_or_default()
    }

    /// Returns all labels except the name, as encoded attributes of a `NumberDataPoint`.
    pub(crate) fn attributes_of(&self, series: u32) -> Attributes<'_> {
        let len = self.get(series).attributes_len as usize;
        Attributes::new(&self.pairs, &self.keys.get(series)[1..], len)
    }

    /// Returns a hash of the name and the labels of a series, equal in all tables.
    pub(crate) fn hash_of(&self, series: u32) -> u64 {
        let key = self.keys.get(series);
        let name = xxh3_64(self.names.get(key[0]));
        let pairs = key[1..].iter().map(|&pair| self.pairs.get(pair));
        pairs.fold(name, |hash, pair| xxh3_64_with_seed(pair, hash))
    }

    /// Returns the hashes of all series that have a stored sample.
    pub(crate) fn stored_hashes(&self) -> Vec<u64> {
        let stored = (0..).zip(&self.list).filter(|(_, it)| it.last.is_some());
        stored.map(|(series, _)| self.hash_of(series)).collect()
    }

    /// Returns the ID of the series with these labels, if there is one.
    pub(crate) fn find(&self, name: &str, labels: &Labels) -> Option<u32> {
        let mut key = vec![self.names.find(name.as_bytes())?];
        let mut pair = Vec::new();
        for (name, value) in without_name(labels) {
            attributes::encode(name, value, &mut pair);
            key.push(self.pairs.find(&pair)?);
        }
        self.keys.find(&key)
    }

    /// Returns the ID of the series with these labels. Adds the series if it is new.
    pub(crate) fn intern(&mut self, name: &str, labels: &Labels) -> u32 {
        let mut key = vec![self.names.intern(name.as_bytes())];
        let (mut pair, mut attributes_len) = (Vec::new(), 0);
        for (name, value) in without_name(labels) {
            attributes::encode(name, value, &mut pair);
            attributes_len += pair.len() as u32;
            key.push(self.pairs.intern(&pair));
        }
        let series = self.keys.intern(&key);
        if series as usize == self.list.len() {
            let role = self.role(name, labels, &key[1..]);
            self.push(Series {
                role,
                attributes_len,
                ..Series::default()
            });
        }
        series
    }

    fn push(&mut self, series: Series) {
        make_room(&mut self.list, 1);
        self.list.push(series);
    }

    /// Returns the series last tracked in `iteration`.
    pub(crate) fn tracked_in(&self, iteration: u64) -> Vec<u32> {
        // The first iteration is 1; 0 means never tracked.
        let is = |&(_, series): &(u32, &Series)| iteration > 0 && series.tracked == iteration;
        (0..).zip(&self.list).filter(is).map(|(at, _)| at).collect()
    }

    /// Moves a series from another table, which is dropped afterwards.
    pub(crate) fn move_from(&mut self, old: u32, from: &mut Self) -> u32 {
        let key = self.translated(from.keys.get(old), from);
        let series = self.keys.intern(&key);
        if series as usize == self.list.len() {
            let mut moved = std::mem::take(from.get_mut(old));
            moved.role = self.regroup(moved.role, from);
            self.push(moved);
        }
        series
    }

    /// Returns a key of another table with the IDs that its name and labels have in this one.
    fn translated(&mut self, key: &[u32], from: &Self) -> Vec<u32> {
        let name = self.names.intern(from.names.get(key[0]));
        let pairs = key[1..].iter();
        let pairs = pairs.map(|&pair| self.pairs.intern(from.pairs.get(pair)));
        std::iter::once(name).chain(pairs).collect()
    }

    fn regroup(&mut self, role: Role, from: &Self) -> Role {
        let mut group = |old| {
            let key = self.translated(from.groups.get(old), from);
            self.groups.intern(&key)
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

    fn role(&mut self, name: &str, labels: &Labels, pairs: &[u32]) -> Role {
        if let Some(base) = name.strip_suffix("_bucket")
            && let Some(bound) = parse_canonical(labels.get(BUCKET))
        {
            let group = self.group_without(base, labels, pairs, BUCKET);
            return Role::Bucket { group, bound };
        }
        if let Some(quantile) = parse_canonical(labels.get(QUANTILE)) {
            let group = self.group_without(name, labels, pairs, QUANTILE);
            return Role::Quantile { group, quantile };
        }
        if let Some(base) = name.strip_suffix("_sum") {
            let group = self.group_of(base, pairs.iter());
            return Role::Sum { group };
        }
        if let Some(base) = name.strip_suffix("_count") {
            let group = self.group_of(base, pairs.iter());
            return Role::Count { group };
        }
        Role::Single
    }

    fn group_without(&mut self, base: &str, labels: &Labels, pairs: &[u32], label: &str) -> u32 {
        let pairs = without_name(labels).zip(pairs);
        let others = pairs.filter(|((name, _), _)| *name != label);
        self.group_of(base, others.map(|(_, pair)| pair))
    }

    fn group_of<'a>(&mut self, base: &str, pairs: impl Iterator<Item = &'a u32>) -> u32 {
        let mut key = vec![self.names.intern(base.as_bytes())];
        key.extend(pairs);
        self.groups.intern(&key)
    }
}

/// Returns all labels except the name.
fn without_name(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(|(name, _)| *name != METRIC_NAME)
}

/// Parses the number in a label value. Returns `None` unless formatting the number
/// gives the same text.
fn parse_canonical(text: Option<&str>) -> Option<f64> {
    let text = text?;
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text.parse().ok()?,
    };
    (float::openmetrics(value) == text && !value.is_nan()).then_some(value)
}
