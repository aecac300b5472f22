//! The history of the scrapes of one target, to find out why a law was broken.

use std::fmt;

use stand_ins::amp::Arrival;

use super::{
    exports::{SentBatch, SentExport},
    record::{Process, Record, scrape_number},
};

/// Events of one target's scrapes, in order.
pub(super) struct TargetHistory(Vec<(i64, String)>);

// === impl TargetHistory ===

impl TargetHistory {
    /// Collects the events of an instance, for example `targets:9002`.
    pub(super) fn new(instance: &str, record: &Record) -> Self {
        let is_it = |batch: &&SentBatch| batch.instance == instance;
        let mut events = Vec::new();
        for process in &record.processes {
            for export in &process.exports {
                for batch in export.batches.iter().filter(is_it) {
                    events.extend(sent(process, export, batch));
                }
            }
        }
        let arrivals = record.arrivals.iter().filter(|arrival| {
            scrape_number(arrival).is_some() && arrival.labels.get("instance") == Some(instance)
        });
        events.extend(arrivals.map(arrived));
        events.sort();
        Self(events)
    }
}

fn sent(process: &Process, export: &SentExport, batch: &SentBatch) -> [(i64, String); 2] {
    let (name, time_ms) = (&process.name, batch.time_ms);
    let end = match &export.verdict {
        Some((verdict, _)) => format!("{verdict:?}"),
        None => "no verdict".to_owned(),
    };
    [
        (export.at_ms, format!("{name} sends {time_ms}")),
        (export.ended_ms, format!("{name} sent {time_ms}: {end}")),
    ]
}

fn arrived(arrival: &Arrival) -> (i64, String) {
    let Arrival {
        request,
        timestamp,
        outcome,
        ..
    } = arrival;
    let event = format!("{timestamp} arrives in request {request}: {outcome:?}");
    (arrival.at_ms, event)
}

impl fmt::Display for TargetHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at_ms, event) in &self.0 {
            writeln!(f, "{at_ms} {event}")?;
        }
        Ok(())
    }
}
