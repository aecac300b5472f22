//! What a simulation is held against: the laws, read from the stand-in's ledger,
//! the targets' memory, what the receivers sent, and their accounts.
//!
//! ```text
//! served by a target ─▶ sent by a receiver ─▶ arrived at the backend
//!                schedule              delivery            ledger
//! ```

mod delivery;
mod ledger;
mod schedule;
mod silence;

use std::fmt;

use mesh_model::labels::METRIC_NAME;
use mesh_outbox::Account;
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    tap::Sent,
    targets::{SCRAPES, Served},
};
use stand_ins::amp::{Arrival, Outcome, Value};
use ledger::Arrived;

/// What a run left behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) seed: u64,
    pub(super) interval_ms: i64,
    pub(super) targets: usize,
    /// The replica groups; one is nobody's replica.
    pub(super) groups: Vec<String>,
    /// When the backend was told to refuse [`super::targets::VALUE`].
    pub(super) refusing_ms: Vec<(i64, i64)>,
    /// When the backend may have stored what its sender had given up.
    pub(super) slow_ms: Vec<(i64, i64)>,
    /// From when the members of a group were others until its last receiver knew.
    pub(super) news_ms: Vec<(String, i64, i64)>,
    /// When something may have kept receivers from scraping in their rhythm.
    pub(super) unsteady_ms: Vec<(String, i64, i64)>,
    /// Whether the groups have heartbeats.
    pub(super) heartbeats: bool,
    /// How long batches waited before receivers spilled them, where they did.
    pub(super) spill_after_ms: Option<i64>,
    /// When something was wrong.
    pub(super) wrong_ms: Vec<(i64, i64)>,
    /// When everything that went wrong was over.
    pub(super) over_ms: i64,
    pub(super) elections: u64,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) served: Vec<Served>,
    pub(super) lives: Vec<Life>,
}

/// One life of a receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) name: String,
    /// Its replica group.
    pub(super) group: String,
    pub(super) began_ms: i64,
    /// When it was killed.
    pub(super) crashed_ms: Option<i64>,
    /// When it scraped no more as it was told to stop.
    pub(super) stopped_ms: Option<i64>,
    /// What it had on its disk is lost with its pod.
    pub(super) lost_disk: bool,
    /// When it took up another share of the targets.
    pub(super) shared_ms: Vec<i64>,
    pub(super) account: Account,
    pub(super) sent: Vec<Sent>,
}

/// How a simulation went.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Its seed.
    pub seed: u64,
    /// Scrapes that were answered.
    pub scrapes: usize,
    /// Of those, how many were not acquired: the receiver was killed, stopped or
    /// lost the target while it asked.
    pub unacquired: usize,
    /// Samples that killed receivers had in memory and that never arrived.
    pub died: u64,
    /// Samples that arrived again.
    pub duplicates: u64,
    /// Samples that came after another replica's newer ones: what a replica had
    /// waiting when it was elected. The backend has that time from the other.
    pub overtaken: u64,
    /// The most slots that a target missed in a row.
    pub missed: i64,
    /// How often the backend elected a replica.
    pub elections: u64,
    /// From the end of what went wrong until every target's samples arrived again,
    /// less one interval, in milliseconds.
    pub recovery_ms: i64,
    /// A digest of all that happened: the same for the same seed.
    pub digest: u64,
    /// The laws that were broken, in words.
    pub broken: Vec<String>,
}

/// The label that the backend elects by.
const REPLICA: &str = "__replica__";

/// Judges a run.
pub(super) fn judge(record: &Record) -> Verdict {
    let duplicates = record.arrivals.iter();
    let duplicates = duplicates.filter(|a| a.outcome == Outcome::Duplicate);
    let mut verdict = Verdict {
        seed: record.seed,
        scrapes: record.served.len(),
        elections: record.elections,
        duplicates: duplicates.count() as u64,
        digest: digest(record),
        ..Verdict::default()
    };
    let arrived = Arrived::of(&record.arrivals);
    verdict.refusals(record);
    verdict.deliveries(record, &arrived);
    verdict.origins(record, &arrived);
    verdict.acquisitions(record);
    verdict.slots(record);
    verdict.recovery(record);
    verdict.silences(record);
    verdict
}

// === impl Record ===

impl Record {
    /// What a group's series have as their replica's name.
    fn replica<'a>(&self, group: &'a str) -> &'a str {
        match self.groups.len() {
            1 => "",
            _ => group,
        }
    }
}

// === impl Life ===

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, began_ms, .. } = self;
        write!(f, "{name} from {began_ms}")?;
        if let Some(at_ms) = self.stopped_ms {
            write!(f, ", stopped at {at_ms}")?;
        }
        if let Some(at_ms) = self.crashed_ms {
            write!(f, ", killed at {at_ms}")?;
        }
        write!(f, ", shares at {:?}: {}", self.shared_ms, self.account)
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether all laws were kept.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    fn breaks(&mut self, law: impl Into<String>) {
        self.broken.push(law.into());
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} scrapes, {} not acquired, {} samples died, {} duplicates, {} overtaken, \
             {} slots missed in a row, {} elections, flowing again after {} ms, digest {:016x}",
            self.seed,
            self.scrapes,
            self.unacquired,
            self.died,
            self.duplicates,
            self.overtaken,
            self.missed,
            self.elections,
            self.recovery_ms,
            self.digest
        )?;
        for broken in self.broken.iter().take(10) {
            write!(f, "\n  {broken}")?;
        }
        match self.broken.len() {
            0..=10 => Ok(()),
            n => write!(f, "\n  and {} more", n - 10),
        }
    }
}

/// The number of the scrape that an arrival tells.
pub(super) fn number(arrival: &Arrival) -> Option<u64> {
    if arrival.labels.get(METRIC_NAME) != Some(SCRAPES) {
        return None;
    }
    match arrival.value {
        Value::Float(bits) => Some(f64::from_bits(bits) as u64),
        Value::Histogram(_) => None,
    }
}

fn digest(record: &Record) -> u64 {
    let mut digest = Xxh3Default::new();
    for arrival in &record.arrivals {
        digest.update(format!("{arrival:?}").as_bytes());
    }
    for scrape in &record.served {
        digest.update(format!("{scrape:?}").as_bytes());
    }
    for life in &record.lives {
        digest.update(format!("{life:?}").as_bytes());
    }
    digest.digest()
}

#[cfg(test)]
mod tests;
