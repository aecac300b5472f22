//! Laws 2, 8 and 9: nothing out of order, no two values for one time, no marker in
//! the life of a target.

use std::collections::HashMap;

use mesh_model::labels::Labels;

use super::{Judgement, Record};
use stand_ins::amp::{Arrival, Outcome, Value};
use harness::arrivals::replica;

/// The label that the backend elects by.
const REPLICA: &str = "__replica__";

/// What the backend has of a series.
#[derive(Default)]
struct Stored<'a> {
    /// The replica whose sample is the newest.
    newest: &'a str,
    values: HashMap<i64, &'a Value>,
}

// === impl Judgement ===

impl Judgement {
    pub(super) fn refusals(&mut self, record: &Record) {
        let is_replayed = |receiver: &super::super::record::Receiver| {
            receiver.spills && receiver.lives.iter().any(|life| life.killed_ms.is_some())
        };
        // What a killed process delivered and did not note as done comes again, after
        // what it had sent since.
        let replayed = record.receivers.iter().any(is_replayed);
        let mut series: HashMap<Labels, Stored<'_>> = HashMap::new();
        for arrival in &record.arrivals {
            if arrival.value == Value::Float(Value::STALE_NAN) {
                self.markers += 1;
                self.show(arrival, "marker");
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
                    self.show(arrival, "out of order");
                }
                Outcome::Conflict => {
                    self.conflicting += 1;
                    self.show(arrival, "conflict");
                }
                Outcome::Refused if record.rules.is_refused(&arrival.labels) => self.refused += 1,
                Outcome::Refused => self.show(arrival, "refused"),
                Outcome::Deduplicated => {}
            }
        }
    }

    fn show(&mut self, arrival: &Arrival, what: &str) {
        let (labels, timestamp, at_ms) = (&arrival.labels, arrival.timestamp, arrival.at_ms);
        self.complain(format!(
            "{what}: {labels} at {timestamp} arrived at {at_ms}"
        ));
    }
}
