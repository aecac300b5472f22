//! What metric families say of themselves, sent apart from their series.
//!
//! Remote write 1.0 has no place for it beside a series. Families are noted as
//! their series come by and sent every now and then, as Prometheus does; nobody
//! waits for the answer, and what is lost comes again.

use std::{collections::HashMap, sync::Arc};

use super::piece::Family;

/// The families whose series came by since they were sent last.
#[derive(Debug, Default)]
pub struct Noted(HashMap<String, Arc<Family>>);

/// Families noted at most: as many metrics as an AMP workspace keeps metadata of.
const MAX_FAMILIES: usize = 20_000;

// === impl Noted ===

impl Noted {
    /// Notes families that say something. Of two with one name the later counts.
    pub fn note(&mut self, families: &[Arc<Family>]) {
        for family in families.iter().filter(|family| family.says_something()) {
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

    /// Takes what was noted, in requests of up to this many families.
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
    fn the_latest_word_counts_and_is_sent_once() {
        let mut noted = Noted::default();
        noted.note(&[family("a", "old"), family("b", "help")]);
        noted.note(&[family("a", "new")]);
        let mut sent = noted.take(10).concat();
        sent.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(sent, [family("a", "new"), family("b", "help")]);
        assert!(noted.take(10).is_empty());
    }

    #[test]
    fn the_end_of_a_series_takes_nothing_back() {
        let mut noted = Noted::default();
        let counter = Family {
            metric_type: MetricType::Counter,
            ..Family::clone(&family("a_total", ""))
        };
        noted.note(&[Arc::new(counter.clone())]);
        noted.note(&[family("a_total", ""), family("h_bucket", "")]);
        assert_eq!(noted.take(10).concat(), [Arc::new(counter)]);
    }

    #[test]
    fn requests_and_the_whole_are_bounded() {
        let mut noted = Noted::default();
        for i in 0..MAX_FAMILIES + 10 {
            noted.note(&[family(&i.to_string(), "help")]);
        }
        let requests = noted.take(2000);
        assert!(requests.iter().all(|request| request.len() <= 2000));
        assert_eq!(requests.concat().len(), MAX_FAMILIES);
    }
}
