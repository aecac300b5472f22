//! Metadata of metric families, sent apart from their series.
//!
//! Remote write 1.0 has no metadata in its series. The exporter collects the families
//! of the series that it sends, and posts their metadata at an interval, as Prometheus
//! does. Nothing waits for the response; lost metadata is sent again with later
//! samples.

use std::{collections::HashMap, sync::Arc};

use super::part::Family;

/// Families whose metadata has to be sent.
#[derive(Debug, Default)]
pub struct PendingMetadata(HashMap<String, Arc<Family>>);

/// Maximum number of collected families: the number of metrics that AMP keeps metadata
/// for.
const MAX_FAMILIES: usize = 20_000;

// === impl PendingMetadata ===

impl PendingMetadata {
    /// Collects families that have metadata. A later family replaces an earlier one of
    /// the same name.
    pub fn record(&mut self, families: &[Arc<Family>]) {
        for family in families.iter().filter(|family| family.has_metadata()) {
            let full = self.0.len() >= MAX_FAMILIES;
            match self.0.get_mut(&family.name) {
                Some(known) => *known = Arc::clone(family),
                None if full => {}
                None => {
                    self.0.insert(family.name.clone(), Arc::clone(family));
                }
            }
        }
    }

    /// Takes the collected families, in groups of up to `per_request`.
    pub fn take(&mut self, per_request: usize) -> Vec<Vec<Arc<Family>>> {
        let families: Vec<_> = self.0.drain().map(|(_, family)| family).collect();
        families
            .chunks(per_request.max(1))
            .map(<[_]>::to_vec)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::v1::metric_metadata::MetricType;

    fn family(name: &str, help: &str) -> Arc<Family> {
        Arc::new(Family {
            name: name.to_owned(),
            help: help.to_owned(),
            ..Default::default()
        })
    }

    #[test]
    fn sends_the_latest_metadata_once() {
        let mut pending = PendingMetadata::default();
        pending.record(&[family("a", "old"), family("b", "help")]);
        pending.record(&[family("a", "new")]);
        let mut sent = pending.take(10).concat();
        sent.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(sent, [family("a", "new"), family("b", "help")]);
        assert!(pending.take(10).is_empty());
    }

    #[test]
    fn a_family_without_metadata_does_not_replace_one() {
        let mut pending = PendingMetadata::default();
        let counter = Family {
            metric_type: MetricType::Counter,
            ..Family::clone(&family("a_total", ""))
        };
        pending.record(&[Arc::new(counter.clone())]);
        pending.record(&[family("a_total", ""), family("h_bucket", "")]);
        assert_eq!(pending.take(10).concat(), [Arc::new(counter)]);
    }

    #[test]
    fn limits_families_per_request_and_in_total() {
        let mut pending = PendingMetadata::default();
        for i in 0..MAX_FAMILIES + 10 {
            pending.record(&[family(&i.to_string(), "help")]);
        }
        let requests = pending.take(2000);
        assert!(requests.iter().all(|request| request.len() <= 2000));
        assert_eq!(requests.concat().len(), MAX_FAMILIES);
    }
}
