//! The times of the oldest pending batches of a key, for each destination.

use std::{collections::BTreeMap, sync::Arc};

/// Times of the oldest pending batches of a key, in milliseconds since the Unix epoch.
///
/// A batch may be pending for one destination while another one has it already. A destination
/// that is not listed counts as one that has nothing: its outbox may learn of it later, and
/// then sends it all that is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldestPending {
    oldest_ms: i64,
    /// Time for each listed destination; `None` if nothing is pending for it.
    destinations: BTreeMap<Arc<str>, Option<i64>>,
}

// === impl OldestPending ===

impl OldestPending {
    /// Returns the time of a batch that is pending for all destinations.
    pub fn everywhere(oldest_ms: i64) -> Self {
        Self {
            oldest_ms,
            destinations: BTreeMap::new(),
        }
    }

    /// Returns the times of the listed destinations. `None` if nothing is pending for any of
    /// them.
    pub fn at_each(destinations: BTreeMap<Arc<str>, Option<i64>>) -> Option<Self> {
        let oldest_ms = destinations.values().flatten().copied().min()?;
        Some(Self {
            oldest_ms,
            destinations,
        })
    }

    /// Time of the oldest batch that is pending for any destination.
    pub fn oldest_ms(&self) -> i64 {
        self.oldest_ms
    }

    /// Time of the oldest batch that is pending for a destination. Without one: for any.
    pub fn at(&self, destination: Option<&str>) -> Option<i64> {
        let listed = destination.and_then(|name| self.destinations.get(name));
        listed.copied().unwrap_or(Some(self.oldest_ms))
    }

    /// Times of the listed destinations. Empty if the oldest batch is pending for all.
    pub fn destinations(&self) -> &BTreeMap<Arc<str>, Option<i64>> {
        &self.destinations
    }

    /// Returns the earlier time of each destination.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let names = self.destinations.keys().chain(other.destinations.keys());
        let destinations = names.map(|name| {
            let times = [self.at(Some(name)), other.at(Some(name))];
            (name.clone(), times.into_iter().flatten().min())
        });
        Self {
            oldest_ms: self.oldest_ms.min(other.oldest_ms),
            destinations: destinations.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_each<const N: usize>(times: [(&str, Option<i64>); N]) -> Option<OldestPending> {
        OldestPending::at_each(times.map(|(name, ms)| (Arc::from(name), ms)).into())
    }

    #[test]
    fn a_destination_without_pending_batches_waits_for_nothing() {
        let oldest = at_each([("a", None), ("b", Some(7))]).unwrap();
        assert_eq!(oldest.at(Some("a")), None);
        assert_eq!(oldest.at(Some("b")), Some(7));
        // A destination that the outbox will learn of, and an Export to all of them.
        assert_eq!(oldest.at(Some("c")), Some(7));
        assert_eq!(oldest.at(None), Some(7));
        assert_eq!(at_each([("a", None)]), None);
    }

    #[test]
    fn merges_to_the_earlier_time_of_each_destination() {
        let one = at_each([("a", None), ("b", Some(7))]).unwrap();
        let two = at_each([("a", Some(9)), ("c", None)]).unwrap();
        let merged = one.merge(&two);
        // The second outbox does not know `b` and the first one not `c`.
        let expected = at_each([("a", Some(9)), ("b", Some(7)), ("c", Some(7))]);
        assert_eq!(Some(merged), expected);
        let everywhere = one.merge(&OldestPending::everywhere(3));
        assert_eq!(everywhere.at(Some("a")), Some(3));
        assert_eq!(everywhere.oldest_ms(), 3);
    }
}
