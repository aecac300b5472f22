//! The record of a run, which the judge reads.

use std::fmt;

use mesh_model::labels::METRIC_NAME;
use mesh_outbox::Account;
use stand_ins::amp::{Arrival, Value};
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    exports::SentExport,
    targets::{AnsweredScrape, SCRAPES},
};

/// Label that the backend elects by.
pub(super) const REPLICA: &str = "__replica__";

/// Everything that a run observed. Times are in milliseconds since the Unix epoch; a range is
/// a start and an end.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) seed: u64,
    /// Destination whose ledger, Exports and accounts this is.
    pub(super) destination: String,
    pub(super) interval_ms: i64,
    pub(super) targets: usize,
    /// Replica groups. A single group has no replica label.
    pub(super) groups: Vec<String>,
    /// Ranges in which the backend rejected [`super::targets::VALUE`].
    pub(super) rejecting_ms: Vec<(i64, i64)>,
    /// Ranges in which the backend may have stored requests after their senders gave up.
    pub(super) slow_backend_ms: Vec<(i64, i64)>,
    /// Ranges from a change of a group's members until its last receiver learned of it.
    pub(super) view_lag_ms: Vec<(String, i64, i64)>,
    /// Ranges in which faults may have disturbed the scrape schedule of a group.
    pub(super) unsettled_ms: Vec<(String, i64, i64)>,
    /// True if the groups send heartbeats.
    pub(super) heartbeats: bool,
    /// Age at which receivers spill batches, if they do.
    pub(super) spill_after_ms: Option<i64>,
    /// Ranges of all faults.
    pub(super) faults_ms: Vec<(i64, i64)>,
    /// End of the last fault.
    pub(super) faults_end_ms: i64,
    pub(super) elections: u64,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) scrapes: Vec<AnsweredScrape>,
    pub(super) processes: Vec<Process>,
}

/// One process of a receiver, from its start to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) name: String,
    /// Replica group of the receiver.
    pub(super) group: String,
    pub(super) started_ms: i64,
    /// Time at which the process was killed.
    pub(super) killed_ms: Option<i64>,
    /// Time at which the process stopped scraping, in an orderly shutdown.
    pub(super) stopped_ms: Option<i64>,
    /// True if its spill directory was deleted with its pod.
    pub(super) lost_disk: bool,
    /// Times at which the process learned of another share of the targets.
    pub(super) reassigned_ms: Vec<i64>,
    pub(super) account: Account,
    pub(super) exports: Vec<SentExport>,
}

// === impl Record ===

impl Record {
    /// Returns the replica label of a group's series.
    pub(super) fn replica<'a>(&self, group: &'a str) -> &'a str {
        match self.groups.len() {
            1 => "",
            _ => group,
        }
    }

    /// Returns a digest of the run. Runs of the same seed have the same digest.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = Xxh3Default::new();
        for arrival in &self.arrivals {
            digest.update(format!("{arrival:?}").as_bytes());
        }
        for scrape in &self.scrapes {
            digest.update(format!("{scrape:?}").as_bytes());
        }
        for process in &self.processes {
            digest.update(format!("{process:?}").as_bytes());
        }
        digest.digest()
    }
}

// === impl Process ===

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} started at {}", self.name, self.started_ms)?;
        if let Some(at_ms) = self.stopped_ms {
            write!(f, ", stopped scraping at {at_ms}")?;
        }
        if let Some(at_ms) = self.killed_ms {
            write!(f, ", killed at {at_ms}")?;
        }
        write!(
            f,
            ", reassigned at {:?}: {}",
            self.reassigned_ms, self.account
        )
    }
}

/// Scrape number in an arrival of [`SCRAPES`]; `None` for other series.
pub(super) fn scrape_number(arrival: &Arrival) -> Option<u64> {
    if arrival.labels.get(METRIC_NAME) != Some(SCRAPES) {
        return None;
    }
    match arrival.value {
        Value::Float(bits) => Some(f64::from_bits(bits) as u64),
        Value::Histogram(_) => None,
    }
}
