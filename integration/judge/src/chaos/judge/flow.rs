//! How soon everything flows again: every target in every group, and what is pushed.

use std::{collections::BTreeMap, time::Duration};

use mesh_model::labels::METRIC_NAME;

use super::Record;
use stand_ins::{amp::Arrival, otel};
use harness::arrivals::{is_counter, replica};

/// What flows: a target's address and a replica group, or what is pushed.
pub(crate) type Flow<'a> = (&'a str, &'a str);

/// When the first samples of each flow arrived after the end of the fault.
pub(crate) fn first<'a>(arrivals: &'a [Arrival], over_ms: i64) -> BTreeMap<Flow<'a>, i64> {
    let mut first = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.at_ms >= over_ms) {
        let pushed = arrival.labels.get(METRIC_NAME) == Some(otel::COUNTER);
        let flow = match arrival.labels.get("instance") {
            Some(instance) if is_counter(arrival) => (instance, replica(arrival)),
            _ if pushed => ("pushed", ""),
            _ => continue,
        };
        first.entry(flow).or_insert(arrival.at_ms);
    }
    first
}

/// The time from the end of the fault until the first samples of the last flow arrived,
/// less the time to its next slot; `None` where some never did.
pub(super) fn recovery(record: &Record) -> Option<Duration> {
    let first = first(&record.arrivals, record.over_ms);
    if first.len() < record.flows {
        return None;
    }
    let last = first.values().max()?;
    let late_ms = last - record.over_ms - record.interval_ms;
    Some(Duration::from_millis(late_ms.max(0).unsigned_abs()))
}
