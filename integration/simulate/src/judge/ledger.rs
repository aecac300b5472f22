//! Laws 2, 8 and 9, read from the backend's ledger alone: no sample out of order, no two values
//! for one time, no staleness marker of a live target, no unplanned rejection.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_model::labels::{Labels, METRIC_NAME};
use stand_ins::amp::{Arrival, Outcome, Value};

use super::report::Report;
use crate::{
    record::{REPLICA, Record},
    targets::VALUE,
};

/// Arrivals by scrape and series.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    scrapes: BTreeMap<Key, BTreeMap<Labels, Vec<SeriesArrival>>>,
    /// Scrapes with samples out of order, by request.
    out_of_order: BTreeMap<u64, BTreeSet<Key>>,
    /// True if the exporters write to several destinations.
    pub(super) is_of_several: bool,
}

/// Time, request and outcome of one sample of a series.
type SeriesArrival = (i64, u64, Outcome);

/// Replica, instance and time of a scrape.
pub(super) type Key = (String, String, i64);

/// Newest stored time of a series, by replica.
type Newest = BTreeMap<String, i64>;

// === impl Arrived ===

impl Arrived {
    pub(super) fn new(record: &Record) -> Self {
        let exports = record.processes.iter().flat_map(|it| &it.exports);
        let mut all = Self {
            is_of_several: exports
                .into_iter()
                .any(|export| export.destination.is_some()),
            ..Self::default()
        };
        for arrival in &record.arrivals {
            let label = |name| arrival.labels.get(name).unwrap_or_default().to_owned();
            let key = (label(REPLICA), label("instance"), arrival.timestamp);
            if arrival.outcome == Outcome::OutOfOrder {
                let scrapes = all.out_of_order.entry(arrival.request).or_default();
                scrapes.insert(key.clone());
            }
            let scrape = all.scrapes.entry(key).or_default();
            let series = scrape.entry(arrival.labels.clone()).or_default();
            series.push((arrival.at_ms, arrival.request, arrival.outcome));
        }
        all
    }

    /// Iterates over the scrapes, each with its number of series.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&Key, usize)> {
        let scrapes = self.scrapes.iter();
        scrapes.map(|(key, series)| (key, series.len()))
    }

    /// Returns the last outcome until `ms` of each series of a scrape.
    pub(super) fn outcomes(&self, key: &Key, ms: i64) -> Vec<Outcome> {
        self.last(key, ms).map(|(_, outcome)| outcome).collect()
    }

    /// Returns true if the last request with this scrape until `ms` had samples out of order of
    /// scrapes other than `keys`.
    pub(super) fn had_others_out_of_order(&self, key: &Key, ms: i64, keys: &[Key]) -> bool {
        let mut scrapes = self
            .last(key, ms)
            .filter_map(|(request, _)| self.out_of_order.get(&request));
        scrapes.any(|scrapes| scrapes.iter().any(|key| !keys.contains(key)))
    }

    fn last(&self, key: &Key, ms: i64) -> impl Iterator<Item = (u64, Outcome)> {
        let series = self.scrapes.get(key).into_iter().flat_map(BTreeMap::values);
        let last = series.filter_map(move |all| all.iter().rev().find(|(at, ..)| *at <= ms));
        last.map(|(_, request, outcome)| (*request, *outcome))
    }
}

// === impl Report ===

impl Report {
    /// Checks the outcome of each arrival.
    pub(super) fn check_outcomes(&mut self, record: &Record) {
        let mut newest: HashMap<Labels, Newest> = HashMap::new();
        for arrival in &record.arrivals {
            let replica = arrival.labels.get(REPLICA).unwrap_or_default();
            let mut series = arrival.labels.to_builder();
            series.del(REPLICA);
            let newest = newest.entry(series.build()).or_default();
            let is_allowed = match arrival.outcome {
                Outcome::Stored => {
                    newest.insert(replica.to_owned(), arrival.timestamp);
                    true
                }
                Outcome::Duplicate => true,
                Outcome::Deduplicated => record.groups.len() > 1,
                Outcome::OutOfOrder => {
                    let is_overtaken = is_overtaken(newest, replica, arrival.timestamp);
                    self.overtaken += u64::from(is_overtaken);
                    is_overtaken || is_abandoned(record, arrival)
                }
                Outcome::Refused => is_planned(record, arrival),
                Outcome::Conflict | Outcome::TooOld => false,
            };
            if !is_allowed {
                self.violation(format!(
                    "{}: {}",
                    arrival.outcome.as_str(),
                    describe(arrival)
                ));
            }
            if arrival.value == Value::Float(Value::STALE_NAN) {
                let arrival = describe(arrival);
                self.violation(format!("staleness marker of a live target: {arrival}"));
            }
        }
    }
}

/// Returns true if a sample is older than a stored one of another replica, but in order for its
/// own replica. This happens after the backend has elected that replica.
fn is_overtaken(newest: &Newest, replica: &str, time_ms: i64) -> bool {
    let (own, others): (Vec<_>, Vec<_>) = newest.iter().partition(|(of, _)| *of == replica);
    own.iter().all(|(_, newest)| **newest <= time_ms)
        && others.iter().any(|(_, newest)| **newest > time_ms)
}

/// Returns true for a sample of a request that the exporter aborted at its deadline, if a
/// partition hid that from a slow backend. Another request stored the sample since, and no Export
/// waits for this one.
fn is_abandoned(record: &Record, arrival: &Arrival) -> bool {
    let within = |(from, to): &(i64, i64)| (*from..=*to).contains(&arrival.at_ms);
    let repeats = |other: &Arrival| {
        other.outcome == Outcome::Stored
            && other.at_ms < arrival.at_ms
            && (other.timestamp, &other.value) == (arrival.timestamp, &arrival.value)
            && other.labels == arrival.labels
    };
    let is_awaited = || {
        let exports = record.processes.iter().flat_map(|it| &it.exports);
        let mut in_flight = exports
            .filter(|export| (export.at_ms..=export.ended_ms).contains(&arrival.at_ms))
            .flat_map(|export| &export.batches);
        in_flight.any(|batch| {
            let instance = arrival.labels.get("instance");
            batch.time_ms == arrival.timestamp && instance == Some(batch.instance.as_str())
        })
    };
    record.slow_backend_ms.iter().any(within)
        && record.arrivals.iter().any(repeats)
        && !is_awaited()
}

/// Returns true if the plan made the backend reject this sample.
fn is_planned(record: &Record, arrival: &Arrival) -> bool {
    let mut ranges = record.rejecting_ms.iter();
    arrival.labels.get(METRIC_NAME) == Some(VALUE)
        && ranges.any(|(from, to)| (*from..=*to).contains(&arrival.at_ms))
}

fn describe(arrival: &Arrival) -> String {
    format!(
        "{} at {} arrived at {}",
        arrival.labels, arrival.timestamp, arrival.at_ms
    )
}
