//! The laws that the backend's ledger shows alone: nothing out of order, no two
//! values for one time, no marker in a target's life, no refusal that was not told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_model::labels::{Labels, METRIC_NAME};

use super::{REPLICA, Record, Verdict};
use stand_ins::amp::{Arrival, Outcome, Value};
use crate::targets::VALUE;

/// What arrived of each scrape, by series.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    scrapes: BTreeMap<Key, BTreeMap<Labels, Vec<Came>>>,
    /// The scrapes of each request of which samples were out of order.
    late: BTreeMap<u64, BTreeSet<Key>>,
}

/// When a sample of a series came, in which request, and what became of it.
type Came = (i64, u64, Outcome);

/// A scrape as the backend sees it.
pub(super) type Key = (String, String, i64);

/// Times of one series by the replica that they were stored of: the newest.
type Newest = BTreeMap<String, i64>;

// === impl Arrived ===

impl Arrived {
    pub(super) fn of(arrivals: &[Arrival]) -> Self {
        let mut all = Self::default();
        for arrival in arrivals {
            let label = |name| arrival.labels.get(name).unwrap_or_default().to_owned();
            let key = (label(REPLICA), label("instance"), arrival.timestamp);
            if arrival.outcome == Outcome::OutOfOrder {
                let late = all.late.entry(arrival.request).or_default();
                late.insert(key.clone());
            }
            let scrape = all.scrapes.entry(key).or_default();
            let series = scrape.entry(arrival.labels.clone()).or_default();
            series.push((arrival.at_ms, arrival.request, arrival.outcome));
        }
        all
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&Key, usize)> {
        let scrapes = self.scrapes.iter();
        scrapes.map(|(key, series)| (key, series.len()))
    }

    /// What became of each series of a scrape at last, until `ms`.
    pub(super) fn outcomes(&self, key: &Key, ms: i64) -> Vec<Outcome> {
        self.last(key, ms).map(|(_, outcome)| outcome).collect()
    }

    /// Whether the last request with a scrape until `ms` had samples out of order of
    /// scrapes that are not among `keys`.
    pub(super) fn had_others_late(&self, key: &Key, ms: i64, keys: &[Key]) -> bool {
        let mut late = self
            .last(key, ms)
            .filter_map(|(request, _)| self.late.get(&request));
        late.any(|late| late.iter().any(|key| !keys.contains(key)))
    }

    fn last(&self, key: &Key, ms: i64) -> impl Iterator<Item = (u64, Outcome)> {
        let series = self.scrapes.get(key).into_iter().flat_map(BTreeMap::values);
        let last = series.filter_map(move |all| all.iter().rev().find(|(at, ..)| *at <= ms));
        last.map(|(_, request, outcome)| (*request, *outcome))
    }
}

// === impl Verdict ===

impl Verdict {
    /// Laws 2, 8 and 9.
    pub(super) fn refusals(&mut self, record: &Record) {
        let mut newest: HashMap<Labels, Newest> = HashMap::new();
        for arrival in &record.arrivals {
            let replica = arrival.labels.get(REPLICA).unwrap_or_default();
            let mut series = arrival.labels.to_builder();
            series.del(REPLICA);
            let newest = newest.entry(series.build()).or_default();
            let good = match arrival.outcome {
                Outcome::Stored => {
                    newest.insert(replica.to_owned(), arrival.timestamp);
                    true
                }
                Outcome::Duplicate => true,
                Outcome::Deduplicated => record.groups.len() > 1,
                Outcome::OutOfOrder => {
                    let is_overtaken = is_overtaken(newest, replica, arrival.timestamp);
                    self.overtaken += u64::from(is_overtaken);
                    is_overtaken || is_given_up(record, arrival)
                }
                Outcome::Refused => is_told(record, arrival),
                Outcome::Conflict | Outcome::TooOld => false,
            };
            if !good {
                self.breaks(format!("{}: {}", arrival.outcome.as_str(), told(arrival)));
            }
            if arrival.value == Value::Float(Value::STALE_NAN) {
                let what = told(arrival);
                self.breaks(format!("a live target's staleness marker: {what}"));
            }
        }
    }
}

/// Whether a sample is older than what another replica has stored, and in order
/// among those of its own: the backend has elected its replica since.
fn is_overtaken(newest: &Newest, replica: &str, time_ms: i64) -> bool {
    let (own, others): (Vec<_>, Vec<_>) = newest.iter().partition(|(of, _)| *of == replica);
    own.iter().all(|(_, newest)| **newest <= time_ms)
        && others.iter().any(|(_, newest)| **newest > time_ms)
}

/// Whether this is a request that was given up at its deadline, over a connection that
/// was cut, so that the backend did not hear of it and took longer: it repeats what was
/// stored by another since, and nobody waits for its answer.
fn is_given_up(record: &Record, arrival: &Arrival) -> bool {
    let within = |(from, to): &(i64, i64)| (*from..=*to).contains(&arrival.at_ms);
    let repeats = |other: &Arrival| {
        other.outcome == Outcome::Stored
            && other.at_ms < arrival.at_ms
            && (other.timestamp, &other.value) == (arrival.timestamp, &arrival.value)
            && other.labels == arrival.labels
    };
    let is_waited_for = || {
        let sent = record.lives.iter().flat_map(|life| &life.sent);
        let mut under_way = sent
            .filter(|sent| (sent.at_ms..=sent.ended_ms).contains(&arrival.at_ms))
            .flat_map(|sent| &sent.batches);
        under_way.any(|batch| {
            let instance = arrival.labels.get("instance");
            batch.time_ms == arrival.timestamp && instance == Some(batch.instance.as_str())
        })
    };
    record.slow_ms.iter().any(within) && record.arrivals.iter().any(repeats) && !is_waited_for()
}

/// Whether the backend was told to refuse this.
fn is_told(record: &Record, arrival: &Arrival) -> bool {
    let mut told = record.refusing_ms.iter();
    arrival.labels.get(METRIC_NAME) == Some(VALUE)
        && told.any(|(from, to)| (*from..=*to).contains(&arrival.at_ms))
}

fn told(arrival: &Arrival) -> String {
    format!(
        "{} at {} arrived at {}",
        arrival.labels, arrival.timestamp, arrival.at_ms
    )
}
