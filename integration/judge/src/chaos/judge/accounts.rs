//! Law 10: what was acquired is accounted for, and the backend agrees.

use std::collections::HashSet;

use super::{Judgement, Record};
use stand_ins::amp::Outcome;
use harness::{arrivals::replica, books::Account};

// === impl Judgement ===

impl Judgement {
    pub(super) fn accounts(&mut self, record: &Record) {
        let mut sum = Account::default();
        for receiver in &record.receivers {
            let stopped = receiver
                .lives
                .iter()
                .filter(|life| life.stopped_ms.is_some());
            if stopped.count() != receiver.accounts.len() {
                self.complain(format!("{} left no final account", receiver.name));
            }
            for account in &receiver.accounts {
                if !account.balances() {
                    self.complain(format!("{} does not balance: {account:?}", receiver.name));
                }
                if account.waiting > 0 || account.expired() > 0 && !record.rules.expires {
                    self.complain(format!("{} gave up samples: {account:?}", receiver.name));
                }
                sum.pushed += account.pushed;
                sum.stored += account.stored;
                *sum.expired.entry("any".to_owned()).or_default() += account.expired();
            }
        }
        let killed = |receiver: &super::super::record::Receiver| {
            receiver.lives.iter().any(|life| life.killed_ms.is_some())
        };
        if record.receivers.iter().any(killed) {
            // A killed process takes its account with it.
            return;
        }
        self.agree(record, &sum);
    }

    /// Holds the sum of all accounts against the ledger.
    fn agree(&mut self, record: &Record, sum: &Account) {
        let scraped = record.arrivals.iter().filter(|a| !replica(a).is_empty());
        let arrived: HashSet<_> = scraped.clone().map(|a| (&a.labels, a.timestamp)).collect();
        let arrived = arrived.len() as u64;
        if sum.pushed != arrived + sum.expired() {
            self.complain(format!(
                "{} acquired, {arrived} arrived and {} expired",
                sum.pushed,
                sum.expired()
            ));
        }
        if record.rules.expires && self.expired as u64 != sum.expired() {
            self.complain(format!(
                "{} never arrived, {} are booked as expired",
                self.expired,
                sum.expired()
            ));
        }
        let stored = scraped.filter(|a| a.outcome == Outcome::Stored).count() as u64;
        // A refusal names one sample of a request, and what was stored without an
        // answer may be another replica's copy when it comes again.
        let exact = self.refused == 0 && record.elections <= 1;
        if exact && sum.stored != stored {
            self.complain(format!(
                "{} booked as stored, the backend has {stored}",
                sum.stored
            ));
        }
    }
}
