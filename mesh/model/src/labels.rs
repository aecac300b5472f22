//! Label sets: sorted lists of unique names and their values.
//!
//! ```
//! use mesh_model::labels::Labels;
//!
//! let labels: Labels = [("job", "node"), ("__name__", "up")].into_iter().collect();
//! assert_eq!(labels.get("job"), Some("node"));
//! assert_eq!(labels.to_string(), r#"{__name__="up", job="node"}"#);
//! ```

use std::fmt;

/// Label with the metric name of a series.
pub const METRIC_NAME: &str = "__name__";
/// Label with the `host:port` of a target.
pub const ADDRESS: &str = "__address__";
/// Label with the job name of a target.
pub const JOB: &str = "job";
/// Label with the instance of a target. Default: the target's `host:port`.
pub const INSTANCE: &str = "instance";
/// Label with the upper bound of a classic histogram's bucket.
pub const BUCKET: &str = "le";
/// Label with the quantile of a summary.
pub const QUANTILE: &str = "quantile";

/// A label: one name and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Name, unique in its label set.
    pub name: String,
    /// Value. It is never empty, since an empty value means that the label does not exist.
    pub value: String,
}

/// An immutable label set, sorted by name, with unique names and without empty values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Box<[Label]>);

/// A label set under construction.
///
/// Always sorted. Label sets are small, so inserting into a vector is faster than a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsBuilder(Vec<Label>);

// === impl Labels ===

impl Labels {
    /// Returns the value of the label `name`, or `None` if the set does not contain it.
    pub fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.0, name)
    }

    /// Returns true if the set contains the label `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Iterates over names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|l| (l.name.as_str(), l.value.as_str()))
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a hash that is the same in every process and every release.
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

    /// Returns a builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder(self.0.to_vec())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    /// Collects pairs in any order. The last value of a repeated name wins.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }
}

impl fmt::Display for Labels {
    /// Formats the set as Prometheus does: `{a="1", b="2"}`.
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
    /// Returns the value of the label `name`, or `None` if the set does not contain it.
    pub fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.0, name)
    }

    /// Sets the label `name` to `value`. An empty value removes the label.
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

    /// Removes the label `name`.
    pub fn del(&mut self, name: &str) -> &mut Self {
        if let Ok(at) = self.0.binary_search_by(|l| l.name.as_str().cmp(name)) {
            self.0.remove(at);
        }
        self
    }

    /// Removes all labels for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.0.retain(|l| keep(&l.name, &l.value));
        self
    }

    /// Iterates over names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|l| (l.name.as_str(), l.value.as_str()))
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all labels. The allocated memory remains for reuse.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Builds the label set.
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
    fn sorts_labels_and_takes_the_last_value() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{a="2", b="3"}"#);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn omits_labels_with_an_empty_value() {
        let mut builder = LabelsBuilder::default();
        builder.set("a", "1").set("b", "").set("a", "");
        assert!(builder.is_empty());
    }

    #[test]
    fn hash_distinguishes_names_from_values() {
        let one: Labels = [("a", "bc")].into_iter().collect();
        let other: Labels = [("ab", "c")].into_iter().collect();
        assert_ne!(one.stable_hash(), other.stable_hash());
    }
}
