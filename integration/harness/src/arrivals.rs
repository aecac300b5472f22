//! Scrapes of the sample app, as the stand-in's ledger shows them.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::labels::METRIC_NAME;
use stand_ins::{amp::Arrival, sample_app::SCRAPES};

/// Job that scrapes the sample app.
pub const JOB: &str = "sample-app";

/// One scrape, as one replica group sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scrape {
    /// Name of the replica group.
    pub replica: String,
    /// Time of the scrape, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Number of the scrape in its body, from 1.
    pub number: usize,
}

/// All scrapes that arrived. A scrape that was sent again counts once.
pub fn scrapes(arrivals: &[Arrival]) -> BTreeSet<Scrape> {
    let counter = arrivals.iter().filter(|arrival| is_counter(arrival));
    counter
        .map(|arrival| Scrape {
            replica: replica(arrival).to_owned(),
            timestamp: arrival.timestamp,
            number: arrival.value.as_float().unwrap_or_default() as usize,
        })
        .collect()
}

/// Returns true for the sample that numbers a scrape.
pub fn is_counter(arrival: &Arrival) -> bool {
    arrival.labels.get(METRIC_NAME) == Some(SCRAPES) && arrival.labels.get("job") == Some(JOB)
}

/// Name of the replica group that sent a sample. Empty without the label.
pub fn replica(arrival: &Arrival) -> &str {
    arrival.labels.get("__replica__").unwrap_or_default()
}

/// Scrapes that did not arrive exactly once, with the number of their arrivals. `served` is
/// the number of scrapes that the sample app has answered.
///
/// The latest two scrapes may be missing: each of two replica groups may have been reading
/// one when its receiver stopped.
pub fn lost_or_repeated(arrivals: &[Arrival], served: usize) -> BTreeMap<usize, usize> {
    let mut times: BTreeMap<usize, usize> = (1..=served).map(|scrape| (scrape, 0)).collect();
    for scrape in scrapes(arrivals) {
        *times.entry(scrape.number).or_default() += 1;
    }
    times.retain(|scrape, n| *n != 1 && !(*n == 0 && scrape + 2 > served));
    times
}
