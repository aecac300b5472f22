//! Scrapes that have arrived, each with its series.

use std::collections::{HashMap, HashSet};

use mesh_model::labels::{Labels, METRIC_NAME};

use super::Record;
use harness::arrivals::{is_counter, replica};
use stand_ins::amp::{Arrival, Outcome};

/// Arrived part of one scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery<'a> {
    /// Timestamp of the scrape, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Series that are accounted for: stored, deduplicated, or refused as the scenario
    /// wants it.
    pub series: HashSet<&'a Labels>,
}

/// All scrapes that have arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries<'a> {
    by_number: HashMap<(&'a str, usize), Delivery<'a>>,
    /// Failed scrapes: target, replica group and timestamp.
    down: Vec<(&'a str, &'a str, i64)>,
}

// === impl Deliveries ===

impl<'a> Deliveries<'a> {
    /// Collects the scrapes from the ledger.
    pub(crate) fn of(record: &'a Record) -> Self {
        let mut by_time: HashMap<_, (Option<usize>, HashSet<&Labels>)> = HashMap::new();
        let mut down = Vec::new();
        for arrival in &record.arrivals {
            let Some(instance) = arrival.labels.get("instance") else {
                continue;
            };
            let key = (instance, replica(arrival), arrival.timestamp);
            if is_counter(arrival) {
                let number = arrival.value.as_float().unwrap_or_default() as usize;
                by_time.entry(key).or_default().0 = Some(number);
            }
            if arrival.labels.get(METRIC_NAME) == Some("up")
                && arrival.value.as_float() == Some(0.0)
            {
                down.push((instance, replica(arrival), arrival.timestamp));
            }
            if is_accounted_for(arrival, record) {
                by_time.entry(key).or_default().1.insert(&arrival.labels);
            }
        }
        let known = by_time.into_iter().filter_map(|(key, (number, series))| {
            let (instance, _, timestamp) = key;
            Some(((instance, number?), Delivery { timestamp, series }))
        });
        Self {
            by_number: known.collect(),
            down,
        }
    }

    /// Arrived part of a target's n-th scrape.
    pub(crate) fn get(&self, instance: &'a str, number: usize) -> Option<&Delivery<'a>> {
        self.by_number.get(&(instance, number))
    }

    /// Returns `true` if a group's scrape failed within `within_ms` of a time.
    pub(crate) fn is_down(
        &self,
        instance: &str,
        replica: &str,
        at_ms: i64,
        within_ms: i64,
    ) -> bool {
        let mut own = self
            .down
            .iter()
            .filter(|(i, r, _)| (*i, *r) == (instance, replica));
        own.any(|(.., time)| (at_ms - time).abs() <= within_ms)
    }
}

/// Returns `true` if a sample counts as arrived. Out-of-order samples break a law of their
/// own.
fn is_accounted_for(arrival: &Arrival, record: &Record) -> bool {
    match arrival.outcome {
        Outcome::Stored
        | Outcome::Duplicate
        | Outcome::Deduplicated
        | Outcome::OutOfOrder
        | Outcome::TooOld => true,
        Outcome::Refused => record.rules.is_refused(&arrival.labels),
        Outcome::Conflict => false,
    }
}
