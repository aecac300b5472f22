//! The sample app's scrapes as the stand-in's ledger has them.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::labels::METRIC_NAME;

use stand_ins::{amp::Arrival, sample_app::SCRAPES};
use crate::mesh::{JOB, Mesh};

/// One scrape as one replica sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scrape {
    /// The replica group's name.
    pub replica: String,
    /// The scrape's time, in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The number that stands in its body, from 1.
    pub number: usize,
}

/// All scrapes that arrived. One that had to be sent again is one.
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

/// Whether it is the sample that numbers a scrape.
pub fn is_counter(arrival: &Arrival) -> bool {
    arrival.labels.get(METRIC_NAME) == Some(SCRAPES) && arrival.labels.get("job") == Some(JOB)
}

/// The name of the replica group that sent it.
pub fn replica(arrival: &Arrival) -> &str {
    arrival.labels.get("__replica__").unwrap_or_default()
}

/// Scrapes that did not arrive exactly once, and how often they did. One that was
/// under way when its receiver stopped may be missing; each group has one owner of
/// the target, so there are two of those at most.
pub fn lost_or_repeated(mesh: &Mesh) -> BTreeMap<usize, usize> {
    let served = mesh.sample_app.scrapes();
    let mut times: BTreeMap<usize, usize> = (1..=served).map(|scrape| (scrape, 0)).collect();
    for scrape in scrapes(&mesh.amp.backend().arrivals()) {
        *times.entry(scrape.number).or_default() += 1;
    }
    times.retain(|scrape, n| *n != 1 && !(*n == 0 && scrape + 2 > served));
    times
}
