//! The accounts of senders: of living ones from their metrics, the final one of a
//! process that has stopped from its log.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::child::Metrics;

/// What became of every sample of a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Taken into its outbox.
    pub pushed: u64,
    /// In the backend.
    pub stored: u64,
    /// Dropped by the backend as another replica's copy.
    pub deduplicated: u64,
    /// Refused by the backend.
    pub rejected: u64,
    /// Given up, by reason.
    pub expired: BTreeMap<String, u64>,
    /// None of these yet.
    pub waiting: u64,
    /// Those that wait and are on its disk.
    pub spilled: u64,
    /// Those of all taken that it found on its disk when it started; a log does not
    /// tell.
    pub replayed: u64,
}

// === impl Account ===

impl Account {
    /// The account that a service shows, whose metrics begin with this.
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

    /// The final accounts of all processes that wrote this log and stopped.
    ///
    /// # Errors
    /// Where one is not understood.
    pub fn of_log(log: &str) -> anyhow::Result<Vec<Self>> {
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let accounts = lines.filter_map(|line| Some(line.get("account")?.as_str()?.to_owned()));
        accounts.map(|account| Self::parse(&account)).collect()
    }

    /// `pushed=3 stored=1 expired{too_old}=2`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut account = Self::default();
        for field in text.split_whitespace() {
            let (name, number) = field.split_once('=').with_context(|| field.to_owned())?;
            let number: u64 = number.parse().with_context(|| field.to_owned())?;
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

    /// All that was given up.
    pub fn expired(&self) -> u64 {
        self.expired.values().sum()
    }

    /// What is neither stored nor waits.
    pub fn otherwise(&self) -> u64 {
        self.deduplicated + self.rejected + self.expired()
    }

    /// How many of the samples that this process scraped must arrive: those that it has
    /// delivered or has on its disk.
    pub fn kept(&self) -> u64 {
        let in_memory = self.waiting.saturating_sub(self.spilled);
        self.pushed.saturating_sub(self.replayed + in_memory)
    }

    /// Whether every sample is accounted for.
    pub fn balances(&self) -> bool {
        self.pushed == self.stored + self.otherwise() + self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_account_is_read_from_a_log() {
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
    fn an_account_tells_what_waits_and_is_on_the_disk() {
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
        assert_eq!(account.otherwise(), 3);
        assert!(account.balances());
        assert_eq!(Account::of_log("Receiver started").unwrap(), []);
    }
}
