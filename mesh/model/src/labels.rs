//! Label sets: a sorted, duplicate-free list of names and values.

use std::fmt;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label of a target's host and port.
pub const ADDRESS: &str = "__address__";
/// The job a target was configured under.
pub const JOB: &str = "job";
/// The target's `host:port`, unless relabeled.
pub const INSTANCE: &str = "instance";
/// The label that holds the upper bound of a classic histogram's bucket.
pub const BUCKET: &str = "le";
/// The label that holds a summary's quantile.
pub const QUANTILE: &str = "quantile";

/// One name and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The name, unique in its set.
    pub name: String,
    /// The value. An empty value is the same as no label and never stored.
    pub value: String,
}

/// An immutable label set: sorted by name, names unique, no empty values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Box<[Label]>);

/// A label set under construction.
///
/// Kept sorted at all times: label sets are small, so an insertion into a
/// vector beats a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsBuilder(Vec<Label>);

// === impl Labels ===

impl Labels {
    /// The value of `name`, or `None` where the set does not have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.0, name)
    }

    /// Whether the set has `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All labels in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|l| (l.name.as_str(), l.value.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash that is the same in every process and every release.
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for label in &self.0 {
            hasher.update(label.name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(label.value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest()
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder(self.0.to_vec())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    /// Collects pairs in any order; of two with one name the last wins.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }
}

impl fmt::Display for Labels {
    /// Writes `{a="1", b="2"}`, as Prometheus prints a label set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

// === impl LabelsBuilder ===

impl LabelsBuilder {
    /// The value of `name`, or `None` where the set does not have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.0, name)
    }

    /// Sets `name` to `value`; an empty value removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.0.binary_search_by(|l| l.name.as_str().cmp(&name)) {
            Ok(at) if value.is_empty() => drop(self.0.remove(at)),
            Ok(at) => self.0[at].value = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.0.insert(at, Label { name, value }),
        }
        self
    }

    /// Removes `name`.
    pub fn del(&mut self, name: &str) -> &mut Self {
        if let Ok(at) = self.0.binary_search_by(|l| l.name.as_str().cmp(name)) {
            self.0.remove(at);
        }
        self
    }

    /// Keeps only the labels for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.0.retain(|l| keep(&l.name, &l.value));
        self
    }

    /// All labels in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|l| (l.name.as_str(), l.value.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all labels but keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The finished set.
    pub fn build(self) -> Labels {
        Labels(self.0.into_boxed_slice())
    }
}

fn lookup<'a>(sorted: &'a [Label], name: &str) -> Option<&'a str> {
    let at = sorted
        .binary_search_by(|l| l.name.as_str().cmp(name))
        .ok()?;
    Some(&sorted[at].value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sorted_and_the_last_value_wins() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{a="2", b="3"}"#);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn an_empty_value_is_no_label() {
        let mut builder = LabelsBuilder::default();
        builder.set("a", "1").set("b", "").set("a", "");
        assert!(builder.is_empty());
    }

    #[test]
    fn the_hash_tells_names_from_values() {
        let one: Labels = [("a", "bc")].into_iter().collect();
        let other: Labels = [("ab", "c")].into_iter().collect();
        assert_ne!(one.stable_hash(), other.stable_hash());
    }
}
