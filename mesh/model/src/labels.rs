//! Label sets: sorted lists of unique names and their values.
//!
//! ```
//! use mesh_model::labels::Labels;
//!
//! let labels: Labels = [("job", "node"), ("__name__", "up")].into_iter().collect();
//! assert_eq!(labels.get("job"), Some("node"));
//! assert_eq!(labels.to_string(), r#"{__name__="up", job="node"}"#);
//! ```

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    /// Name, unique in its label set.
    name: String,
    /// Value. It is never empty, since an empty value means that the label does not exist.
    value: String,
}

/// An immutable label set, sorted by name, with unique names and without empty values.
///
/// Several sets can share a base. For example, the targets of a pod share the pod's labels.
#[derive(Clone, Default)]
pub struct Labels {
    own: Packed,
    /// Further labels. No name is in `own`, and this set has no base.
    base: Option<Arc<Labels>>,
}

/// Labels in one string, since a cluster has millions of them.
#[derive(Clone, Default, PartialEq, Eq)]
struct Packed {
    /// Names and values, each name followed by its value.
    text: Box<str>,
    /// Ends of the names and the values in `text`.
    ends: Box<[(u32, u32)]>,
}

/// Iterator over the names and values of a label set, sorted by name.
#[derive(Clone, Debug)]
struct Iter<'a> {
    own: PackedIter<'a>,
    base: Option<PackedIter<'a>>,
}

#[derive(Clone, Debug)]
struct PackedIter<'a> {
    labels: &'a Packed,
    next: usize,
}

/// A label set under construction.
///
/// Always sorted. Label sets are small, so inserting into a vector is faster than a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsBuilder(Vec<Label>);

// === impl Packed ===

impl Packed {
    fn get(&self, name: &str) -> Option<&str> {
        let (mut from, mut to) = (0, self.ends.len());
        while from < to {
            let middle = from.midpoint(to);
            let (found, value) = self.at(middle)?;
            match found.cmp(name) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return Some(value),
                Ordering::Greater => to = middle,
            }
        }
        None
    }

    /// Returns the name and the value of a label.
    fn at(&self, index: usize) -> Option<(&str, &str)> {
        let (name, value) = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.ends[before].1 as usize,
            None => 0,
        };
        let (name, value) = (name as usize, value as usize);
        Some((&self.text[start..name], &self.text[name..value]))
    }

    fn iter(&self) -> PackedIter<'_> {
        PackedIter {
            labels: self,
            next: 0,
        }
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

// === impl PackedIter ===

impl<'a> PackedIter<'a> {
    fn peek(&self) -> Option<(&'a str, &'a str)> {
        self.labels.at(self.next)
    }

    fn remaining(&self) -> usize {
        self.labels.ends.len() - self.next
    }
}

impl<'a> Iterator for PackedIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.peek()?;
        self.next += 1;
        Some(label)
    }
}

// === impl Iter ===

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let Some(base) = &mut self.base else {
            return self.own.next();
        };
        match (self.own.peek(), base.peek()) {
            (Some((own, _)), Some((other, _))) if own > other => base.next(),
            (None, _) => base.next(),
            _ => self.own.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let base = self.base.as_ref().map_or(0, PackedIter::remaining);
        let remaining = self.own.remaining() + base;
        (remaining, Some(remaining))
    }
}

impl ExactSizeIterator for Iter<'_> {}

// === impl Labels ===

impl Labels {
    /// Adds the labels of a set that many sets share. Labels of this set take precedence.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use mesh_model::labels::Labels;
    ///
    /// let pod: Arc<Labels> = Arc::new([("pod", "web-0")].into_iter().collect());
    /// let port: Labels = [("port", "80")].into_iter().collect();
    /// assert_eq!(port.with_base(pod).to_string(), r#"{pod="web-0", port="80"}"#);
    /// ```
    pub fn with_base(self, base: Arc<Self>) -> Self {
        let overlaps = self.iter().any(|(name, _)| base.contains(name));
        if overlaps || self.base.is_some() || base.base.is_some() {
            let mut merged = base.to_builder();
            for (name, value) in self.iter() {
                merged.set(name, value);
            }
            return merged.build();
        }
        Self {
            own: self.own,
            base: Some(base),
        }
    }

    /// Returns the value of the label `name`, or `None` if the set does not contain it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let base = || self.base.as_ref()?.own.get(name);
        self.own.get(name).or_else(base)
    }

    /// Returns true if the set contains the label `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Iterates over names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        Iter {
            own: self.own.iter(),
            base: self.base.as_ref().map(|base| base.own.iter()),
        }
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Returns true if the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a hash that is the same in every process and every release.
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for (name, value) in self.iter() {
            hasher.update(name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest()
    }

    /// Returns a builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        let labels = self.iter().map(|(name, value)| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        LabelsBuilder(labels.collect())
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        let same_base = match (&self.base, &other.base) {
            (None, None) => true,
            (Some(base), Some(other)) => Arc::ptr_eq(base, other),
            _ => false,
        };
        if same_base {
            self.own == other.own
        } else {
            self.iter().eq(other.iter())
        }
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for label in self.iter() {
            label.hash(state);
        }
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    /// Collects pairs in any order. The last value of a repeated name wins.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        pairs.into_iter().collect::<LabelsBuilder>().build()
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
    ///
    /// # Panics
    /// Panics if the names and values are longer than 4 GiB together.
    pub fn build(self) -> Labels {
        let bytes = self.0.iter().map(|l| l.name.len() + l.value.len()).sum();
        let mut text = String::with_capacity(bytes);
        let mut end = |part: &str| {
            text.push_str(part);
            u32::try_from(text.len()).expect("a label set is shorter than 4 GiB")
        };
        let ends = self.0.iter().map(|l| (end(&l.name), end(&l.value)));
        let ends = ends.collect();
        let text = text.into_boxed_str();
        Labels {
            own: Packed { text, ends },
            base: None,
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for LabelsBuilder {
    /// Collects pairs in any order. The last value of a repeated name wins. Takes no more than
    /// the time to sort them, also for very many.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let label = |(name, value): (N, V)| Label {
            name: name.into(),
            value: value.into(),
        };
        let mut labels: Vec<Label> = pairs.into_iter().map(label).collect();
        // Keeps the order of equal names.
        labels.sort_by(|one, other| one.name.cmp(&other.name));
        labels.dedup_by(|later, earlier| {
            let is_same = later.name == earlier.name;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        labels.retain(|label| !label.value.is_empty());
        Self(labels)
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
    fn compares_label_by_label() {
        let set = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Labels>();
        let sorted = [
            set(&[]),
            set(&[("a", "b")]),
            set(&[("a", "b"), ("c", "d")]),
            set(&[("a", "c")]),
            set(&[("ab", "a")]),
        ];
        assert!(sorted.is_sorted());
        assert_ne!(set(&[("a", "bc")]), set(&[("ab", "c")]));
        assert_eq!(
            set(&[("b", "1"), ("a", "2")]),
            set(&[("a", "2"), ("b", "1")])
        );
    }

    #[test]
    fn restores_its_builder() {
        let labels: Labels = [("a", "é"), ("b", "2")].into_iter().collect();
        assert_eq!(labels.to_builder().build(), labels);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "é"), ("b", "2")]);
    }

    #[test]
    fn a_base_changes_nothing_but_memory() {
        let set = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Labels>();
        let base = Arc::new(set(&[("b", "2"), ("d", "4")]));
        let flat = set(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        let based = set(&[("a", "1"), ("c", "3")]).with_base(base.clone());
        assert_eq!((&based, based.len()), (&flat, 4));
        assert_eq!(based.cmp(&flat), Ordering::Equal);
        assert_eq!(based.stable_hash(), flat.stable_hash());
        let hash = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        use std::hash::BuildHasher;
        assert_eq!(hash.hash_one(&based), hash.hash_one(&flat));
        assert_eq!((based.get("c"), based.get("d")), (Some("3"), Some("4")));
        assert_eq!(based.to_builder().build(), flat);
        let overlapping = set(&[("b", "x")]).with_base(base.clone());
        assert_eq!(overlapping, set(&[("b", "x"), ("d", "4")]));
        let twice = set(&[("e", "5")]).with_base(Arc::new(based));
        assert_eq!(twice.len(), 5);
        assert_ne!(set(&[]).with_base(base.clone()), set(&[("b", "2")]));
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
