//! Laws 2, 8 and 9: no sample is out of order, no timestamp has two values, and no running
//! target gets a staleness marker.

use std::collections::HashMap;

use mesh_model::labels::Labels;

use super::{Judgement, Record};
use harness::arrivals::replica;
use stand_ins::amp::{Arrival, Outcome, Value};

/// Label that the backend elects a replica by.
const REPLICA: &str = "__replica__";

/// Samples of a series that the backend has stored.
#[derive(Default)]
struct Stored<'a> {
    /// Replica of the newest sample.
    newest: &'a str,
    values: HashMap<i64, &'a Value>,
}

// === impl Judgement ===

impl Judgement {
    pub(super) fn refusals(&mut self, record: &Record) {
        let is_replayed = |receiver: &super::super::record::Receiver| {
            receiver.spills
                && receiver
                    .lifetimes
                    .iter()
                    .any(|lifetime| lifetime.killed_ms.is_some())
        };
        // A killed process may have delivered a batch without noting it on disk. Its
        // successor sends the batch again, after newer ones.
        let replayed = record.receivers.iter().any(is_replayed);
        let mut series: HashMap<Labels, Stored<'_>> = HashMap::new();
        for arrival in &record.arrivals {
            if arrival.value == Value::Float(Value::STALE_NAN) {
                self.markers += 1;
                self.violates_timing(describe(arrival, "marker"));
            }
            let mut labels = arrival.labels.to_builder();
            labels.del(REPLICA);
            let stored = series.entry(labels.build()).or_default();
            let same = stored.values.get(&arrival.timestamp) == Some(&&arrival.value);
            match arrival.outcome {
                Outcome::Stored => {
                    stored.newest = replica(arrival);
                    stored.values.insert(arrival.timestamp, &arrival.value);
                }
                Outcome::Duplicate => self.duplicates += 1,
                Outcome::OutOfOrder if replayed && same => self.duplicates += 1,
                Outcome::OutOfOrder if stored.newest != replica(arrival) => self.overtaken += 1,
                Outcome::OutOfOrder | Outcome::TooOld => {
                    self.out_of_order += 1;
                    self.violates(describe(arrival, "out of order"));
                }
                Outcome::Conflict => {
                    self.conflicting += 1;
                    self.violates(describe(arrival, "conflict"));
                }
                Outcome::Refused if record.rules.is_refused(&arrival.labels) => self.refused += 1,
                Outcome::Refused => self.violates(describe(arrival, "refused")),
                Outcome::Deduplicated => {}
            }
        }
    }
}

fn describe(arrival: &Arrival, what: &str) -> String {
    let (labels, timestamp, at_ms) = (&arrival.labels, arrival.timestamp, arrival.at_ms);
    format!("{what}: {labels} at {timestamp} arrived at {at_ms}")
}
