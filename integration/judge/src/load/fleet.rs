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
    peer::{self, Peer, Setup},
    targets,
};
use stand_ins::{amp::{Amp, Keys}, ports::reserve_ports, sample_app::SCRAPED_BY};
use harness::{books::Account, child::Service};

/// The processes.
#[derive(Debug)]
pub(super) struct Fleet {
    /// What is scraped.
    pub(super) targets: Service,
    /// They share the targets.
    pub(super) receivers: Vec<Service>,
    /// Any of them takes what a receiver sends.
    pub(super) exporters: Vec<Service>,
    /// What is in the place of both.
    peer: Option<Peer>,
    _folder: TempDir,
    /// The receivers' addresses, while one of them is down.
    _reserved: Vec<TcpSocket>,
}

/// One life of a receiver: from its start, or the one before, to its end.
#[derive(Clone, Debug)]
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
const RECEIVER: &str = "promesh_receiver";

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
        if let Some(program) = &args.peer {
            let setup = Setup {
                config: config(0)?,
                url: &amp.remote_write_url(),
                keys: &keys,
                folder: logs,
            };
            let peer = Peer::start(program, &setup)?;
            return Ok(Self {
                targets,
                receivers: Vec::new(),
                exporters: Vec::new(),
                peer: Some(peer),
                _folder: folder,
                _reserved: Vec::new(),
            });
        }
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
        let (reserved, members) = reserve_ports(args.receivers)?;
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
            peer: None,
            _folder: folder,
            _reserved: reserved,
        })
    }

    /// All processes that run, in the order a sample travels.
    pub(super) fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        let services = std::iter::once(&self.targets)
            .chain(&self.receivers)
            .chain(&self.exporters);
        let services = services.filter_map(|service| Some((&*service.name, service.pid()?)));
        let peer = self.peer.iter().filter_map(|peer| peer.pid());
        services.chain(peer.map(|pid| (peer::NAME, pid)))
    }

    /// The account of a receiver that runs.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) async fn account(&self, receiver: usize) -> anyhow::Result<Account> {
        let metrics = self.receivers[receiver].metrics().await?;
        Ok(Account::of_metrics(&metrics, RECEIVER))
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
                let account = Account::of_log(&receiver.log()?)?.pop();
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
  http_headers: {{{SCRAPED_BY}: {{values: ['{receiver}']}}}}
  static_configs:
{static_configs}remote_write:
- url: {url}
  sigv4: {{region: {region}}}
",
        interval = mesh_model::config::duration::format(args.interval),
        job = exposition::JOB,
        static_configs = static_configs.concat(),
        url = amp.remote_write_url(),
        region = Keys::example().region,
    );
    let path = folder.join(format!("prometheus-{receiver}.yml"));
    std::fs::write(&path, config)?;
    Ok(path)
}
