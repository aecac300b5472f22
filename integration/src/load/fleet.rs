//! The processes of a load run: targets, receivers, exporters, and what is known of
//! each life of a receiver.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::{
    LoadArgs, exposition,
    kills::Victim,
    targets::{self, ASKER},
};
use crate::{
    amp::{Amp, Keys},
    child::{Metrics, Service},
    mesh::reserve,
};

/// The processes.
#[derive(Debug)]
pub(super) struct Fleet {
    /// What is scraped.
    pub(super) targets: Service,
    /// They share the targets.
    pub(super) receivers: Vec<Service>,
    /// Any of them takes what a receiver sends.
    pub(super) exporters: Vec<Service>,
    folder: TempDir,
    /// The receivers' addresses, while one of them is down.
    _reserved: Vec<TcpSocket>,
}

/// What a receiver says of its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Taken into its outbox.
    pub(super) pushed: u64,
    /// Stored by the backend, as it was told.
    pub(super) stored: u64,
    /// Deduplicated, rejected or expired.
    pub(super) otherwise: u64,
    /// Neither yet.
    pub(super) waiting: u64,
    /// Those of them that are on its disk.
    pub(super) spilled: u64,
    /// Those of all pushed ones that it found on its disk when it started.
    pub(super) replayed: u64,
}

/// One life of a receiver: from its start, or the one before, to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// Which receiver.
    pub(super) receiver: usize,
    /// Until when what is scraped by it belongs to this life, in milliseconds since
    /// the Unix epoch.
    pub(super) until_ms: i64,
    /// Its last word.
    pub(super) account: Account,
    /// When it ended by SIGKILL.
    pub(super) killed_ms: Option<i64>,
}

const DRAIN: Duration = Duration::from_secs(90);
const OUTBOX: &str = "promesh_receiver_outbox";

/// What the flags of a service allow, in bytes, and so the most it may ever have.
pub(super) const MAX_BYTES: u64 = 2 * BUDGET_BYTES;
/// What each of a service's two large budgets may be.
const BUDGET_BYTES: u64 = 256 << 20;

// === impl Fleet ===

impl Fleet {
    /// Starts targets, exporters and receivers.
    ///
    /// # Errors
    /// Where one does not start, with the end of its log.
    pub(super) async fn start(args: &LoadArgs, program: &Path, amp: &Amp) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let logs = folder.path();
        let targets = start_targets(args, program, logs).await?;
        let config = |by| write_config(args, logs, &targets.addresses.web, amp, by);
        let keys = Keys::example();
        let credentials = [
            ("AWS_ACCESS_KEY_ID", keys.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", keys.secret_key.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let mut exporters = Vec::new();
        for i in 0..args.exporters {
            let flags = [
                "exporter".to_owned(),
                format!("--config.file={}", config(0)?.display()),
                "--grpc.listen-address=127.0.0.1:0".to_owned(),
                "--web.listen-address=127.0.0.1:0".to_owned(),
                format!("--ingest.max-bytes={BUDGET_BYTES}"),
                format!("--remote-write.cache-bytes={BUDGET_BYTES}"),
            ];
            let name = format!("exporter-{i}");
            exporters.push(Service::start(program, &name, &flags, &credentials, logs).await?);
        }
        let endpoints = exporters.iter().filter_map(|e| e.addresses.grpc.clone());
        let endpoints: Vec<_> = endpoints.collect();
        // They ask each other before they scrape.
        let (reserved, members) = reserve(args.receivers)?;
        let mut receivers = Vec::new();
        for (i, own) in members.iter().enumerate() {
            let mut flags = vec![
                "receiver".to_owned(),
                format!("--config.file={}", config(i)?.display()),
                format!("--exporter.endpoints={}", endpoints.join(",")),
                format!("--shard.members={}", members.join(",")),
                format!("--shard.self={own}"),
                format!("--web.listen-address={own}"),
                format!("--outbox.max-bytes={BUDGET_BYTES}"),
                format!("--scrape.memory-budget={BUDGET_BYTES}"),
            ];
            let name = format!("receiver-{i}");
            if let Some(after) = args.spill_after() {
                let dir = logs.join(&name);
                flags.push(format!("--outbox.spill-dir={}", dir.display()));
                flags.push(format!("--outbox.spill-after={}", after.as_secs()));
            }
            receivers.push(Service::start(program, &name, &flags, &[], logs).await?);
        }
        Ok(Self {
            targets,
            receivers,
            exporters,
            folder,
            _reserved: reserved,
        })
    }

    /// All processes, in the order a sample travels.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        std::iter::once(&self.targets)
            .chain(&self.receivers)
            .chain(&self.exporters)
    }

    /// The account of a receiver that runs.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) async fn account(&self, receiver: usize) -> anyhow::Result<Account> {
        let metrics = self.receivers[receiver].metrics().await?;
        Ok(Account::of(&metrics))
    }

    /// A process that may be killed.
    pub(super) fn service(&mut self, victim: Victim) -> &mut Service {
        match victim {
            Victim::Receiver(i) => &mut self.receivers[i],
            Victim::Exporter(i) => &mut self.exporters[i],
        }
    }

    /// Bytes of room that Exports take which an exporter has under way.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) async fn under_way(&self, exporter: usize) -> anyhow::Result<u64> {
        let metrics = self.exporters[exporter].metrics().await?;
        Ok(metrics.sum("promesh_exporter_ingest_in_flight_bytes") as u64)
    }

    /// What is wrong with the counts of exporters that have nothing under way: those
    /// of samples that were taken and those of what became of them.
    ///
    /// # Errors
    /// Where one does not answer.
    pub(super) async fn unsettled(&self) -> anyhow::Result<Vec<String>> {
        let mut unsettled = Vec::new();
        for exporter in &self.exporters {
            let metrics = exporter.metrics().await?;
            let taken = metrics.sum("promesh_exporter_samples_received_total");
            let became = metrics.sum("promesh_exporter_samples_total");
            if taken > became {
                let name = &exporter.name;
                unsettled.push(format!("{name} took {taken} samples and settled {became}"));
            }
        }
        Ok(unsettled)
    }

    /// Stops the receivers, which deliver what they have first, and reads the account
    /// that each leaves in its log.
    ///
    /// # Errors
    /// Where one does not stop in time or leaves no account.
    pub(super) async fn stop_receivers(&mut self) -> anyhow::Result<Vec<Life>> {
        // The log does not tell what was found on the disk.
        let mut replayed = Vec::new();
        for receiver in 0..self.receivers.len() {
            replayed.push(self.account(receiver).await?.replayed);
        }
        let stops = self
            .receivers
            .iter_mut()
            .map(|receiver| receiver.stop(DRAIN));
        futures::future::try_join_all(stops).await?;
        let ended = self.receivers.iter().enumerate();
        ended
            .map(|(i, receiver)| {
                let log = self.folder.path().join(format!("{}.log", receiver.name));
                let log = std::fs::read_to_string(log)?;
                let account = log.lines().rev().find_map(Account::read);
                let account = account.with_context(|| format!("{}: no account", receiver.name))?;
                Ok(Life {
                    receiver: i,
                    until_ms: i64::MAX,
                    account: Account {
                        replayed: replayed[i],
                        ..account
                    },
                    killed_ms: None,
                })
            })
            .collect()
    }
}

async fn start_targets(args: &LoadArgs, program: &Path, logs: &Path) -> anyhow::Result<Service> {
    let flags = [
        "load-targets".to_owned(),
        format!("--targets={}", args.targets()),
        format!("--series={}", args.series()),
    ];
    Service::start(program, "targets", &flags, &[], logs).await
}

/// The configuration of one receiver, which differs from the others' in what it tells
/// the targets of itself.
fn write_config(
    args: &LoadArgs,
    folder: &Path,
    targets: &str,
    amp: &Amp,
    receiver: usize,
) -> anyhow::Result<PathBuf> {
    let static_configs: Vec<_> = (0..args.targets())
        .map(|target| {
            format!(
                "  - targets: ['{targets}']\n    labels: {{instance: {}, __metrics_path__: {}}}\n",
                exposition::instance(target),
                targets::path(target),
            )
        })
        .collect();
    let config = format!(
        "global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
  external_labels: {{cluster: load}}
scrape_configs:
- job_name: {job}
  http_headers: {{{ASKER}: {{values: ['{receiver}']}}}}
  static_configs:
{static_configs}remote_write:
- url: {url}
  sigv4: {{region: {region}}}
",
        interval = mesh::config::duration::format(args.interval),
        job = exposition::JOB,
        static_configs = static_configs.concat(),
        url = amp.remote_write_url(),
        region = Keys::example().region,
    );
    let path = folder.join(format!("prometheus-{receiver}.yml"));
    std::fs::write(&path, config)?;
    Ok(path)
}

// === impl Account ===

impl Account {
    /// What the metrics of a receiver say.
    fn of(metrics: &Metrics) -> Self {
        let sum = |name: &str| metrics.sum(&format!("{OUTBOX}_{name}")) as u64;
        Self {
            pushed: sum("samples_pushed_total"),
            stored: sum("samples_stored_total"),
            otherwise: ["deduplicated", "rejected", "expired"]
                .map(|name| sum(&format!("samples_{name}_total")))
                .iter()
                .sum(),
            waiting: sum("samples_waiting"),
            spilled: sum("samples_spilled"),
            replayed: sum("replayed_samples_total"),
        }
    }

    /// Reads it from a line of a log.
    fn read(line: &str) -> Option<Self> {
        let start = line.find("pushed=")?;
        let mut account = Self::default();
        for word in line[start..].split([' ', '"']) {
            let Some((name, value)) = word.split_once('=') else {
                break;
            };
            let value = value.parse().ok()?;
            match name {
                "pushed" => account.pushed = value,
                "stored" => account.stored = value,
                "waiting" => account.waiting = value,
                "spilled" => account.spilled = value,
                _ => account.otherwise += value,
            }
        }
        Some(account)
    }

    /// How many of the samples that were scraped by this life must arrive: those that
    /// it has delivered or has on its disk.
    pub(super) fn kept(&self) -> u64 {
        let in_memory = self.waiting.saturating_sub(self.spilled);
        self.pushed.saturating_sub(self.replayed + in_memory)
    }

    /// Whether every sample is accounted for.
    pub(super) fn balances(&self) -> bool {
        self.pushed == self.stored + self.otherwise + self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_a_log() {
        let line = r#"{"account":"pushed=9 stored=4 deduplicated=1 waiting=2 spilled=1 rejected{limit}=2","web":1}"#;
        let account = Account::read(line).unwrap();
        let expected = Account {
            pushed: 9,
            stored: 4,
            otherwise: 3,
            waiting: 2,
            spilled: 1,
            replayed: 0,
        };
        assert_eq!(account, expected);
        assert!(account.balances());
        assert_eq!(Account::read("Receiver started"), None);
    }
}
