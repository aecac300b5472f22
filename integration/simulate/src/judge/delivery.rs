//! Laws 1, 4 and 10, per process: each pushed sample was sent, each verdict agrees with the
//! ledger, and each arrival was sent by one process.

use std::collections::{BTreeMap, BTreeSet};

use mesh_contract::verdict::Verdict;
use mesh_outbox::Account;
use stand_ins::amp::Outcome;

use super::{
    ledger::{Arrived, Key},
    report::Report,
};
use crate::{
    exports::{SentBatch, SentExport},
    record::{Process, Record},
};

// === impl Process ===

impl Process {
    /// Returns each batch that was sent, once.
    pub(super) fn sent(&self) -> BTreeSet<&SentBatch> {
        let exports = self.exports.iter();
        exports.flat_map(|export| &export.batches).collect()
    }

    /// Returns the number of samples that were pushed and never sent.
    pub(super) fn unsent_samples(&self) -> u64 {
        let sent: u64 = self.sent().iter().map(|batch| batch.samples).sum();
        self.account.pushed.saturating_sub(sent)
    }

    /// Returns each batch that has a verdict, once.
    fn completed(&self) -> BTreeSet<&SentBatch> {
        let exports = self.exports.iter();
        let completed = exports.filter(|export| export.verdict.is_some());
        completed.flat_map(|export| &export.batches).collect()
    }
}

// === impl Report ===

impl Report {
    /// Checks that each pushed sample is accounted for.
    pub(super) fn check_deliveries(&mut self, record: &Record, arrived: &Arrived) {
        for process in &record.processes {
            let replica = record.replica(&process.group);
            self.check_account(process);
            self.check_verdicts(process, replica, arrived);
            if process.killed_ms.is_some() {
                let completed = process.completed();
                let sent = process.sent().into_iter();
                let open = sent.filter(|batch| !completed.contains(batch));
                let missing = open.map(|batch| missing(batch, replica, arrived));
                self.lost_in_memory += process.unsent_samples() + missing.sum::<u64>();
            }
        }
    }

    /// Checks that the account of a process agrees with its Exports.
    fn check_account(&mut self, process: &Process) {
        let name = &process.name;
        let account = &process.account;
        let Account {
            pushed, waiting, ..
        } = *account;
        if !account.balances() {
            self.violation(format!("{name}: account does not balance: {account}"));
        }
        if !account.expired.is_empty() {
            self.violation(format!("{name}: samples expired: {account}"));
        }
        let sent: u64 = process.sent().iter().map(|batch| batch.samples).sum();
        let completed: u64 = process.completed().iter().map(|batch| batch.samples).sum();
        let is_orderly = process.killed_ms.is_none();
        if sent > pushed || is_orderly && (sent < pushed || waiting > 0) {
            self.violation(format!("{name}: sent {sent} samples: {account}"));
        }
        if completed + waiting != pushed {
            self.violation(format!(
                "{name}: {completed} samples have a verdict: {account}"
            ));
        }
        let exports = process.exports.iter();
        let verdicts = exports.filter_map(|export| export.verdict.as_ref());
        let (deduplicated, rejected) = verdicts.fold((0, 0), |(deduplicated, rejected), (v, _)| {
            (deduplicated + v.deduplicated, rejected + v.rejected_total())
        });
        let booked = account.rejected.values().sum::<u64>();
        if (account.deduplicated, booked) != (deduplicated, rejected) {
            self.violation(format!(
                "{name}: verdicts have {deduplicated} deduplicated and {rejected} rejected \
                 samples: {account}"
            ));
        }
    }

    /// Checks law 4: a verdict says what the backend did.
    fn check_verdicts(&mut self, process: &Process, replica: &str, arrived: &Arrived) {
        let name = &process.name;
        let mut completed = BTreeSet::new();
        for export in &process.exports {
            let mut batches = export.batches.iter();
            if let Some(again) = batches.find(|batch| completed.contains(batch)) {
                self.violation(format!("{name}: sent after its verdict: {again:?}"));
            }
            let Some((verdict, at_ms)) = &export.verdict else {
                continue;
            };
            completed.extend(&export.batches);
            let ledger = LedgerCounts::new(export, replica, *at_ms, arrived);
            if ledger.contradicts(verdict) {
                self.violation(format!(
                    "{name}: verdict {verdict:?} contradicts the ledger {ledger:?}: {:?}",
                    export.batches
                ));
            }
        }
    }

    /// Checks law 1: each arrival was sent, and each slot by one process.
    pub(super) fn check_origins(&mut self, record: &Record, arrived: &Arrived) {
        let mut sent: BTreeMap<Key, (u64, &str)> = BTreeMap::new();
        for process in &record.processes {
            for batch in process.sent() {
                let key = key(batch, record.replica(&process.group));
                let before = sent.insert(key, (batch.samples, &process.name));
                // A process sends spilled batches of the previous one again, since it does not
                // know their verdicts.
                let is_replay =
                    |other: &str| record.spill_after_ms.is_some() && other == process.name;
                if let Some((_, other)) = before.filter(|(_, other)| !is_replay(other)) {
                    self.violation(format!("{other} and {} sent {batch:?}", process.name));
                }
            }
        }
        for (key, series) in arrived.keys() {
            let samples = sent.get(key).map_or(0, |(samples, _)| *samples);
            if series as u64 > samples {
                self.violation(format!(
                    "{series} samples of {key:?} arrived, {samples} were sent"
                ));
            }
        }
    }
}

/// Counts of an Export's samples in the backend's ledger.
#[derive(Debug, Default, PartialEq, Eq)]
struct LedgerCounts {
    deduplicated: u64,
    rejected: u64,
    /// Number of rejected samples that are older than stored ones of another replica.
    overtaken: u64,
    /// Accepted samples of scrapes that have samples out of order.
    accepted_beside: u64,
    missing: u64,
    /// True if the backend's response may name a sample of another Export in the same request.
    may_be_unnamed: bool,
    /// True if the verdict is the worst of several destinations.
    is_of_all: bool,
}

// === impl LedgerCounts ===

impl LedgerCounts {
    fn new(export: &SentExport, replica: &str, until_ms: i64, arrived: &Arrived) -> Self {
        let mut counts = Self {
            is_of_all: export.destination.is_none() && arrived.is_of_several,
            ..Self::default()
        };
        let keys = export.batches.iter().map(|batch| key(batch, replica));
        let keys: Vec<_> = keys.collect();
        for (batch, key) in export.batches.iter().zip(&keys) {
            counts.may_be_unnamed |= arrived.had_others_out_of_order(key, until_ms, &keys);
            let outcomes = arrived.outcomes(key, until_ms);
            counts.missing += batch.samples.saturating_sub(outcomes.len() as u64);
            if outcomes.contains(&Outcome::OutOfOrder) {
                let accepted = |it: &&Outcome| matches!(it, Outcome::Stored | Outcome::Duplicate);
                counts.accepted_beside += outcomes.iter().filter(accepted).count() as u64;
            }
            for outcome in outcomes {
                match outcome {
                    Outcome::Stored | Outcome::Duplicate => {}
                    Outcome::Deduplicated => counts.deduplicated += 1,
                    outcome => {
                        counts.rejected += 1;
                        counts.overtaken += u64::from(outcome == Outcome::OutOfOrder);
                    }
                }
            }
        }
        counts
    }

    fn contradicts(&self, verdict: &Verdict) -> bool {
        self.missing > 0 || !self.is_of_all && self.counts_differ(verdict)
    }

    fn counts_differ(&self, verdict: &Verdict) -> bool {
        // A response of remote write 1.0 names one sample. The exporter counts all samples of
        // its scrape as rejected, although some may have been accepted. It does not know which
        // other scrapes of the request are affected.
        let most = self.rejected + self.accepted_beside;
        let least = match self.overtaken {
            0 => self.rejected,
            _ => u64::from(!self.may_be_unnamed),
        };
        verdict.deduplicated != self.deduplicated
            || !(least..=most).contains(&verdict.rejected_total())
    }
}

fn missing(batch: &SentBatch, replica: &str, arrived: &Arrived) -> u64 {
    let outcomes = arrived.outcomes(&key(batch, replica), i64::MAX);
    batch.samples.saturating_sub(outcomes.len() as u64)
}

fn key(batch: &SentBatch, replica: &str) -> Key {
    (replica.to_owned(), batch.instance.clone(), batch.time_ms)
}
