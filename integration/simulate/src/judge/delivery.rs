//! Law 10, life by life: what was pushed was sent, what was sent and answered has
//! arrived as the answer says, and nothing arrives that nobody sent.

use std::collections::{BTreeMap, BTreeSet};

use mesh_contract::verdict;
use mesh_outbox::Account;

use super::{
    Life, Record, Verdict,
    ledger::{Arrived, Key},
};
use stand_ins::amp::Outcome;
use crate::tap::{Scraped, Sent};

// === impl Life ===

impl Life {
    /// Each batch that was sent, once.
    pub(super) fn departed(&self) -> BTreeSet<&Scraped> {
        self.sent.iter().flat_map(|sent| &sent.batches).collect()
    }

    /// Samples that were pushed and never sent.
    pub(super) fn undeparted(&self) -> u64 {
        let departed: u64 = self.departed().iter().map(|batch| batch.samples).sum();
        self.account.pushed.saturating_sub(departed)
    }

    fn settled(&self) -> BTreeSet<&Scraped> {
        let settled = self.sent.iter().filter(|sent| sent.verdict.is_some());
        settled.flat_map(|sent| &sent.batches).collect()
    }
}

// === impl Verdict ===

impl Verdict {
    /// What was pushed is accounted for, sample by sample.
    pub(super) fn deliveries(&mut self, record: &Record, arrived: &Arrived) {
        for life in &record.lives {
            let replica = record.replica(&life.group);
            self.account(life);
            self.verdicts(life, replica, arrived);
            if life.crashed_ms.is_some() {
                let settled = life.settled();
                let departed = life.departed().into_iter();
                let unsettled = departed.filter(|batch| !settled.contains(batch));
                let missing = unsettled.map(|batch| missing(batch, replica, arrived));
                self.died += life.undeparted() + missing.sum::<u64>();
            }
        }
    }

    fn account(&mut self, life: &Life) {
        let Account {
            pushed, waiting, ..
        } = life.account;
        let account = &life.account;
        if !account.balances() {
            self.breaks(format!("{}: does not balance: {account}", life.name));
        }
        if !account.expired.is_empty() {
            self.breaks(format!("{}: expired: {account}", life.name));
        }
        let departed: u64 = life.departed().iter().map(|batch| batch.samples).sum();
        let settled: u64 = life.settled().iter().map(|batch| batch.samples).sum();
        let in_order = life.crashed_ms.is_none();
        if departed > pushed || in_order && (departed < pushed || waiting > 0) {
            self.breaks(format!(
                "{}: {departed} samples were sent: {account}",
                life.name
            ));
        }
        if settled + waiting != pushed {
            self.breaks(format!(
                "{}: {settled} samples were answered: {account}",
                life.name
            ));
        }
        let answers = life.sent.iter().filter_map(|sent| sent.verdict.as_ref());
        let (deduplicated, rejected) = answers.fold((0, 0), |(deduplicated, rejected), (v, _)| {
            (deduplicated + v.deduplicated, rejected + v.rejected_total())
        });
        let booked = account.rejected.values().sum::<u64>();
        if (account.deduplicated, booked) != (deduplicated, rejected) {
            self.breaks(format!(
                "{}: the answers say {deduplicated} deduplicated, {rejected} rejected: {account}",
                life.name
            ));
        }
    }

    /// Law 4: an answer is the backend's word.
    fn verdicts(&mut self, life: &Life, replica: &str, arrived: &Arrived) {
        let mut over = BTreeSet::new();
        for sent in &life.sent {
            if let Some(again) = sent.batches.iter().find(|batch| over.contains(batch)) {
                self.breaks(format!("{}: sent after its answer: {again:?}", life.name));
            }
            let Some((verdict, at_ms)) = &sent.verdict else {
                continue;
            };
            over.extend(&sent.batches);
            let counted = Counted::of(sent, replica, *at_ms, arrived);
            if counted.differs(verdict) {
                self.breaks(format!(
                    "{}: answered {verdict:?}, the backend {counted:?}: {:?}",
                    life.name, sent.batches
                ));
            }
        }
    }

    /// Law 1: nothing arrives that was not sent, and a slot has one owner.
    pub(super) fn origins(&mut self, record: &Record, arrived: &Arrived) {
        let mut sent: BTreeMap<Key, (u64, &str)> = BTreeMap::new();
        for life in &record.lives {
            for batch in life.departed() {
                let key = key(batch, record.replica(&life.group));
                let before = sent.insert(key, (batch.samples, &life.name));
                // What it had spilled it sends again that does not know what became of it.
                let is_again = |other: &str| record.spill_after_ms.is_some() && other == life.name;
                if let Some((_, other)) = before.filter(|(_, other)| !is_again(other)) {
                    self.breaks(format!("{other} and {} sent {batch:?}", life.name));
                }
            }
        }
        for (key, series) in arrived.keys() {
            let of = sent.get(key).map_or(0, |(samples, _)| *samples);
            if series as u64 > of {
                self.breaks(format!("{series} samples of {key:?}, {of} were sent"));
            }
        }
    }
}

/// What the backend has of an Export.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    deduplicated: u64,
    rejected: u64,
    /// How many of them another replica has overtaken.
    overtaken: u64,
    /// Samples of the same scrapes as those that were not.
    beside: u64,
    missing: u64,
    /// The answer may have named a sample of another Export in the same request.
    is_untold: bool,
}

// === impl Counted ===

impl Counted {
    fn of(sent: &Sent, replica: &str, until_ms: i64, arrived: &Arrived) -> Self {
        let mut counted = Self::default();
        let keys = sent.batches.iter().map(|batch| key(batch, replica));
        let keys: Vec<_> = keys.collect();
        for (batch, key) in sent.batches.iter().zip(&keys) {
            counted.is_untold |= arrived.had_others_late(key, until_ms, &keys);
            let outcomes = arrived.outcomes(key, until_ms);
            counted.missing += batch.samples.saturating_sub(outcomes.len() as u64);
            if outcomes.contains(&Outcome::OutOfOrder) {
                let stored = |it: &&Outcome| matches!(it, Outcome::Stored | Outcome::Duplicate);
                counted.beside += outcomes.iter().filter(stored).count() as u64;
            }
            for outcome in outcomes {
                match outcome {
                    Outcome::Stored | Outcome::Duplicate => {}
                    Outcome::Deduplicated => counted.deduplicated += 1,
                    outcome => {
                        counted.rejected += 1;
                        counted.overtaken += u64::from(outcome == Outcome::OutOfOrder);
                    }
                }
            }
        }
        counted
    }

    fn differs(&self, verdict: &verdict::Verdict) -> bool {
        // An answer of remote write 1.0 names one sample: an exporter takes it that all of
        // its scrape are too late with it, which those are not of which the backend has
        // refused the other replica's, and knows not which other targets' are.
        let most = self.rejected + self.beside;
        let least = match self.overtaken {
            0 => self.rejected,
            _ => u64::from(!self.is_untold),
        };
        self.missing > 0
            || verdict.deduplicated != self.deduplicated
            || !(least..=most).contains(&verdict.rejected_total())
    }
}

fn missing(batch: &Scraped, replica: &str, arrived: &Arrived) -> u64 {
    let outcomes = arrived.outcomes(&key(batch, replica), i64::MAX);
    batch.samples.saturating_sub(outcomes.len() as u64)
}

fn key(batch: &Scraped, replica: &str) -> Key {
    (replica.to_owned(), batch.instance.clone(), batch.time_ms)
}
