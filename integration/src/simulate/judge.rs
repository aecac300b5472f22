//! What a simulation is held against: the laws, read from the stand-in's ledger,
//! the targets' memory, and the accounts of the receivers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use mesh::{
    labels::{Labels, METRIC_NAME},
    outbox::Account,
};
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    targets::{self, SCRAPES, Served},
    world::{Incarnation, Run},
};
use crate::amp::{Arrival, Outcome, Value};

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
    /// Samples that a killed receiver had in memory, at most.
    pub died: u64,
    /// Samples that arrived again.
    pub duplicates: u64,
    /// Samples that came after another replica's newer ones: what a replica had
    /// waiting when it was elected. The backend has that time from the other.
    pub overtaken: u64,
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

/// Lanes flow again this long after a fault at the latest.
const RECOVERY_MS: i64 = 10_000;
/// A scrape that was answered shortly before its receiver let go of the target
/// was never read to its end.
const READING_MS: i64 = 2_500;
/// The label that the backend elects by.
const REPLICA: &str = "__replica__";
/// The value of a staleness marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Judges a run.
pub(super) fn judge(run: &Run) -> Verdict {
    let arrivals = run.backend.arrivals();
    let (served, lives) = (run.shared.served().clone(), run.shared.incarnations());
    let mut verdict = Verdict {
        seed: run.plan.seed,
        scrapes: served.len(),
        elections: run.backend.elections(),
        duplicates: run.backend.totals().of(Outcome::Duplicate),
        digest: digest(&arrivals, &served),
        ..Verdict::default()
    };
    verdict.refusals(run, &arrivals);
    verdict.conservation(run, &lives);
    verdict.recovery(run, &arrivals);
    verdict.losses(&arrivals, &served, &lives);
    verdict
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

    /// Laws 2, 8 and 9: nothing out of order, no two values for one time, no
    /// marker in the life of a target.
    fn refusals(&mut self, run: &Run, arrivals: &[Arrival]) {
        let mut newest: HashMap<Labels, &str> = HashMap::new();
        for arrival in arrivals {
            let replica = arrival.labels.get(REPLICA).unwrap_or_default();
            let mut series = arrival.labels.to_builder();
            series.del(REPLICA);
            let series = series.build();
            let bad = match arrival.outcome {
                Outcome::OutOfOrder if newest.get(&series).is_some_and(|r| *r != replica) => {
                    self.overtaken += 1;
                    false
                }
                Outcome::Conflict | Outcome::OutOfOrder | Outcome::TooOld => true,
                Outcome::Refused => !run.plan.refuses(),
                Outcome::Stored => {
                    newest.insert(series, replica);
                    false
                }
                Outcome::Duplicate | Outcome::Deduplicated => false,
            };
            if bad {
                self.breaks(format!("{}: {}", arrival.outcome.as_str(), told(arrival)));
            }
            if arrival.value == Value::Float(STALE) {
                self.breaks(format!(
                    "a live target's staleness marker: {}",
                    told(arrival)
                ));
            }
        }
    }

    /// Every scrape that was acquired has arrived.
    fn losses(&mut self, arrivals: &[Arrival], served: &[Served], lives: &[Incarnation]) {
        let mut arrived: HashMap<(String, u64), i64> = HashMap::new();
        for arrival in arrivals {
            if let Some(number) = number(arrival) {
                let instance = arrival.labels.get("instance").unwrap_or_default();
                let key = (instance.to_owned(), number);
                arrived.entry(key).or_insert(arrival.at_ms);
            }
        }
        for scrape in served {
            let key = (targets::address(scrape.target), scrape.number);
            if arrived.contains_key(&key) {
                continue;
            }
            match fate(scrape, lives) {
                Fate::Died => self.unacquired += 1,
                Fate::Reading => self.unacquired += 1,
                Fate::Lost => self.breaks(format!(
                    "lost: scrape {} of target {}, answered to {} at {}",
                    scrape.number, scrape.target, scrape.by, scrape.at_ms
                )),
            }
        }
    }

    /// Law 10: what was pushed is accounted for, and the backend agrees.
    fn conservation(&mut self, run: &Run, lives: &[Incarnation]) {
        let totals = run.backend.totals();
        let (mut stored, mut deduplicated) = (0, 0);
        for life in lives {
            let account = life.outbox.account();
            if !run.plan.refuses() && self.overtaken == 0 && !account.rejected.is_empty() {
                self.breaks(format!("{}: rejected: {account}", life.name));
            }
            stored += account.stored;
            deduplicated += account.deduplicated;
            if !account.balances() {
                self.breaks(format!(
                    "{}: the account does not balance: {account}",
                    life.name
                ));
            }
            if life.crashed_ms.is_some() {
                self.died += account.waiting;
            } else if account.waiting > 0 || expired(&account) > 0 {
                self.breaks(format!("{}: not delivered: {account}", life.name));
            }
        }
        let in_store = totals.of(Outcome::Stored);
        // A refusal names one sample: how many there were is an estimate. What was
        // stored without an answer may be another replica's copy when it comes again.
        let exact = self.overtaken == 0 && !run.plan.refuses() && self.elections <= 1;
        if exact && !(stored..=stored + self.died).contains(&in_store) {
            self.breaks(format!(
                "receivers say {stored} stored and {} died, the backend has {in_store}",
                self.died
            ));
        }
        if deduplicated > totals.of(Outcome::Deduplicated) {
            self.breaks(format!(
                "{deduplicated} said to be deduplicated: {totals:?}"
            ));
        }
    }

    /// Every target's samples arrive again soon after the last fault is over.
    fn recovery(&mut self, run: &Run, arrivals: &[Arrival]) {
        let mut first: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for arrival in arrivals {
            if arrival.at_ms < run.over_ms || number(arrival).is_none() {
                continue;
            }
            let label = |name| arrival.labels.get(name).unwrap_or_default();
            let key = (label("instance"), label(REPLICA));
            first.entry(key).or_insert(arrival.at_ms);
        }
        let expected = run.plan.shape.targets * run.plan.shape.groups;
        if first.len() < expected {
            self.breaks(format!("{} of {expected} targets flow again", first.len()));
        }
        let interval_ms = run.plan.shape.interval.as_millis() as i64;
        let last = first.values().max().copied().unwrap_or(run.over_ms);
        self.recovery_ms = (last - run.over_ms - interval_ms).max(0);
        if self.recovery_ms > RECOVERY_MS {
            self.breaks(format!("flowing again only after {} ms", self.recovery_ms));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} scrapes, {} not acquired, {} samples died, {} duplicates, {} overtaken, \
             {} elections, flowing again after {} ms, digest {:016x}",
            self.seed,
            self.scrapes,
            self.unacquired,
            self.died,
            self.duplicates,
            self.overtaken,
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

/// What became of a scrape that never arrived.
enum Fate {
    /// It died with its receiver.
    Died,
    /// Its receiver stopped while it read the answer.
    Reading,
    Lost,
}

fn fate(scrape: &Served, lives: &[Incarnation]) -> Fate {
    let of_receiver = lives.iter().rev().filter(|life| life.name == scrape.by);
    let mut of_then = of_receiver.filter(|life| life.began_ms <= scrape.at_ms);
    let Some(life) = of_then.next() else {
        return Fate::Lost;
    };
    let soon = |end: i64| (scrape.at_ms - 100..=scrape.at_ms + READING_MS).contains(&end);
    match (life.crashed_ms, life.stopped_ms) {
        (Some(_), _) => Fate::Died,
        (None, Some(end)) if soon(end) => Fate::Reading,
        _ => Fate::Lost,
    }
}

/// The number of the scrape that an arrival tells.
fn number(arrival: &Arrival) -> Option<u64> {
    if arrival.labels.get(METRIC_NAME) != Some(SCRAPES) {
        return None;
    }
    match arrival.value {
        Value::Float(bits) => Some(f64::from_bits(bits) as u64),
        Value::Histogram(_) => None,
    }
}

fn expired(account: &Account) -> u64 {
    account.expired.values().sum()
}

fn told(arrival: &Arrival) -> String {
    format!(
        "{} at {} arrived at {}",
        arrival.labels, arrival.timestamp, arrival.at_ms
    )
}

fn digest(arrivals: &[Arrival], served: &[Served]) -> u64 {
    let mut digest = Xxh3Default::new();
    for arrival in arrivals {
        digest.update(format!("{arrival:?}").as_bytes());
    }
    for scrape in served {
        digest.update(format!("{scrape:?}").as_bytes());
    }
    digest.digest()
}
