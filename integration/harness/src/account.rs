//! Accounts of senders: the outcome of each sample that entered the outbox. A running sender
//! shows its account in its metrics; a sender that stopped has logged it.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::metrics::Metrics;

/// Numbers of samples of one sender, by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Samples that entered the outbox.
    pub pushed: u64,
    /// Samples that the backend stored.
    pub stored: u64,
    /// Samples that the backend dropped as another replica's copy.
    pub deduplicated: u64,
    /// Samples that the backend rejected.
    pub rejected: u64,
    /// Samples that the sender gave up, by reason.
    pub expired: BTreeMap<String, u64>,
    /// Samples without an outcome yet.
    pub waiting: u64,
    /// Waiting samples that are on disk.
    pub spilled: u64,
    /// Pushed samples that the sender found on disk when it started. A log does not have
    /// this number.
    pub replayed: u64,
}

// === impl Account ===

impl Account {
    /// Reads the account of a running sender. `prefix` is the prefix of its metrics, such as
    /// `promesh_receiver`.
    pub fn of_metrics(metrics: &Metrics, prefix: &str) -> Self {
        let samples = |what: &str| metrics.sum(&format!("{prefix}_outbox_samples_{what}")) as u64;
        let total = |what: &str| samples(&format!("{what}_total"));
        let expired = total("expired");
        Self {
            pushed: total("pushed"),
            stored: total("stored"),
            deduplicated: total("deduplicated"),
            rejected: total("rejected"),
            expired: [("any".to_owned(), expired)].into(),
            waiting: samples("waiting"),
            spilled: samples("spilled"),
            replayed: metrics.sum(&format!("{prefix}_outbox_replayed_samples_total")) as u64,
        }
    }

    /// Reads the final accounts of all processes that logged to a file and stopped.
    ///
    /// # Errors
    /// Returns an error if an account is malformed.
    pub fn of_log(log: &str) -> anyhow::Result<Vec<Self>> {
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let accounts = lines.filter_map(|line| Some(line.get("account")?.as_str()?.to_owned()));
        accounts.map(|account| Self::parse(&account)).collect()
    }

    /// Parses `pushed=3 stored=1 expired{too_old}=2`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut account = Self::default();
        for field in text.split_whitespace() {
            let malformed = || format!("account {text:?}: {field:?} is not NAME=NUMBER");
            let (name, number) = field.split_once('=').with_context(malformed)?;
            let number: u64 = number.parse().with_context(malformed)?;
            match name {
                "pushed" => account.pushed = number,
                "stored" => account.stored = number,
                "deduplicated" => account.deduplicated = number,
                "waiting" => account.waiting = number,
                "spilled" => account.spilled = number,
                _ if name.starts_with("rejected{") => account.rejected += number,
                _ => {
                    let reason = name.strip_prefix("expired{");
                    if let Some(reason) = reason.and_then(|r| r.strip_suffix('}')) {
                        *account.expired.entry(reason.to_owned()).or_default() += number;
                    }
                }
            }
        }
        Ok(account)
    }

    /// Samples that the sender gave up, for any reason.
    pub fn expired(&self) -> u64 {
        self.expired.values().sum()
    }

    /// Samples with an outcome other than stored.
    pub fn not_stored(&self) -> u64 {
        self.deduplicated + self.rejected + self.expired()
    }

    /// Samples of this process that survive a kill: delivered, or on disk. Samples that an
    /// earlier process left on disk do not count.
    pub fn durable(&self) -> u64 {
        let in_memory = self.waiting.saturating_sub(self.spilled);
        self.pushed.saturating_sub(self.replayed + in_memory)
    }

    /// Returns true if the outcomes add up to the pushed samples.
    pub fn balances(&self) -> bool {
        self.pushed == self.stored + self.not_stored() + self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_final_account_from_a_log() {
        let log = r#"not JSON
{"message":"Receiver started"}
{"message":"Receiver stopped","account":"pushed=9 stored=4 deduplicated=1 waiting=0 spilled=0 rejected{out_of_order}=2 expired{too_old}=1 expired{outbox_full}=1"}
"#;
        let accounts = Account::of_log(log).unwrap();
        assert_eq!(accounts.len(), 1);
        let account = &accounts[0];
        assert!(account.balances(), "{account:?}");
        assert_eq!((account.rejected, account.expired()), (2, 2));
        assert_eq!(account.expired["too_old"], 1);
        assert!(
            !Account {
                pushed: 1,
                ..Account::default()
            }
            .balances()
        );
    }

    #[test]
    fn reads_the_samples_that_wait_and_are_on_disk() {
        let line = r#"{"account":"pushed=9 stored=4 deduplicated=1 waiting=2 spilled=1 rejected{limit}=2","web":1}"#;
        let account = Account::of_log(line).unwrap().pop().unwrap();
        let expected = Account {
            pushed: 9,
            stored: 4,
            deduplicated: 1,
            rejected: 2,
            waiting: 2,
            spilled: 1,
            ..Account::default()
        };
        assert_eq!(account, expected);
        assert_eq!(account.not_stored(), 3);
        assert!(account.balances());
        assert_eq!(Account::of_log("Receiver started").unwrap(), []);
    }
}
