//! Time until all samples flow again: from every target in every group, and from the
//! application that pushes.

use std::{collections::BTreeMap, time::Duration};

use mesh_model::labels::METRIC_NAME;

use super::Record;
use harness::arrivals::{is_counter, replica};
use stand_ins::{amp::Arrival, otel};

/// A stream of samples: a target's address and a replica group, or `pushed`.
pub(crate) type Flow<'a> = (&'a str, &'a str);

/// Time at which each flow first arrived after the end of the fault.
pub(crate) fn first<'a>(arrivals: &'a [Arrival], fault_end_ms: i64) -> BTreeMap<Flow<'a>, i64> {
    let mut first = BTreeMap::new();
    for arrival in arrivals
        .iter()
        .filter(|arrival| arrival.at_ms >= fault_end_ms)
    {
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

/// Time from the end of the fault until the last flow arrives again, less one interval.
/// `None` if a flow never arrives.
pub(super) fn recovery(record: &Record) -> Option<Duration> {
    let first = first(&record.arrivals, record.fault_end_ms);
    if first.len() < record.flows {
        return None;
    }
    let last = first.values().max()?;
    let late_ms = last - record.fault_end_ms - record.interval_ms;
    Some(Duration::from_millis(late_ms.max(0).unsigned_abs()))
}
