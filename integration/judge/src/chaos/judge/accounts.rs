//! Law 10: each acquired sample is accounted for, and the backend agrees.

use std::collections::HashSet;

use super::{Judgement, Record};
use harness::{account::Account, arrivals::replica};
use stand_ins::amp::Outcome;

// === impl Judgement ===

impl Judgement {
    pub(super) fn accounts(&mut self, record: &Record) {
        let mut sum = Account::default();
        for receiver in &record.receivers {
            let stopped = receiver
                .lifetimes
                .iter()
                .filter(|lifetime| lifetime.stopped_ms.is_some());
            if stopped.count() != receiver.accounts.len() {
                self.violates(format!("{} wrote no final account", receiver.name));
            }
            for account in &receiver.accounts {
                if !account.balances() {
                    self.violates(format!(
                        "{}: the account does not balance: {account:?}",
                        receiver.name
                    ));
                }
                let may_expire = record.rules.allows_expiry || record.rules.removes_second;
                if account.waiting > 0 || account.expired() > 0 && !may_expire {
                    self.violates_timing(format!("{} dropped samples: {account:?}", receiver.name));
                }
                sum.pushed += account.pushed;
                sum.stored += account.stored;
                *sum.expired.entry("any".to_owned()).or_default() += account.expired();
            }
        }
        let killed = |receiver: &super::super::record::Receiver| {
            receiver
                .lifetimes
                .iter()
                .any(|lifetime| lifetime.killed_ms.is_some())
        };
        if record.receivers.iter().any(killed) {
            // A killed process writes no final account.
            return;
        }
        self.compare_with_ledger(record, &sum);
    }

    /// Compares the sum of all accounts with the ledger.
    fn compare_with_ledger(&mut self, record: &Record, sum: &Account) {
        let scraped = record.arrivals.iter().filter(|a| !replica(a).is_empty());
        let arrived: HashSet<_> = scraped.clone().map(|a| (&a.labels, a.timestamp)).collect();
        let arrived = arrived.len() as u64;
        let expired_here = match record.rules.removes_second {
            // They have arrived here, and expired for the other destination.
            true => 0,
            false => sum.expired(),
        };
        if record.rules.removes_second && sum.expired() == 0 {
            self.violates_timing("nothing was pending for the removed destination");
        }
        if sum.pushed != arrived + expired_here {
            self.violates(format!(
                "{} acquired, {arrived} arrived and {} expired",
                sum.pushed,
                sum.expired()
            ));
        }
        if record.rules.allows_expiry && self.expired as u64 != sum.expired() {
            // A scrape that timed out was never acquired, but counts as never arrived.
            self.violates_timing(format!(
                "{} never arrived, the accounts say that {} expired",
                self.expired,
                sum.expired()
            ));
        }
        let stored = scraped.filter(|a| a.outcome == Outcome::Stored).count() as u64;
        // A refusal names one sample of a request. A sample that was stored without a
        // response may be another replica's copy when it is sent again.
        // The account has the outcome of the destination that stored least, and each elects for
        // itself.
        let exact = self.refused == 0 && record.elections <= 1 && !record.has_second;
        if exact && sum.stored != stored {
            self.violates(format!(
                "the accounts say that {} are stored, the backend has {stored}",
                sum.stored
            ));
        }
    }
}
