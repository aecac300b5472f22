//! Processes of a load run: targets, receivers and exporters.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use mesh_model::config::duration;
use tempfile::TempDir;

use super::{args::LoadArgs, exposition, kills::Victim, targets};
use harness::{
    account::Account,
    process::{Process, Processes},
    spec::Role,
    topology::{Config, KeysIn, Mesh, RemoteWrite, Topology},
};
use stand_ins::{amp::Amp, sample_app::SCRAPED_BY};

/// Running processes.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Process that serves all targets.
    pub(super) targets: Process,
    /// Receivers, which share the targets, and exporters.
    pub(super) mesh: Mesh<Process>,
    _folder: TempDir,
}

/// Lifetime of a receiver's process.
#[derive(Clone, Debug)]
pub(super) struct Lifetime {
    /// Number of the receiver.
    pub(super) receiver: usize,
    /// End of the scrapes that belong to this lifetime, in milliseconds since the Unix
    /// epoch.
    pub(super) until_ms: i64,
    /// Account at the end.
    pub(super) account: Account,
    /// Time of the SIGKILL, in milliseconds since the Unix epoch. `None` if it stopped by
    /// itself.
    pub(super) killed_ms: Option<i64>,
}

const DRAIN: Duration = Duration::from_secs(90);
const RECEIVER: &str = "promesh_receiver";

/// Maximum memory that the flags of a service permit, in bytes.
pub(super) const MAX_BYTES: u64 = 2 * BUDGET_BYTES;
/// Size of each of a service's two large budgets, in bytes.
const BUDGET_BYTES: u64 = 256 << 20;

// === impl Fleet ===

impl Fleet {
    /// Starts targets, exporters and receivers.
    ///
    /// # Errors
    /// Returns an error with the end of the log if a process does not start.
    pub(super) async fn start(args: &LoadArgs, program: &Path, amp: &Amp) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let targets = start_targets(args, program, folder.path()).await?;
        let config = |receiver| config(args, targets.addresses.web, amp, receiver);
        let (topology, launcher) = (Topology::new(config(0)), Processes::new(program));
        let budget = |flag: &str| format!("--{flag}={BUDGET_BYTES}");
        let exporter_budgets = ["ingest.max-bytes", "remote-write.cache-bytes"].map(budget);
        let receiver_budgets = ["outbox.max-bytes", "scrape.memory-budget"].map(budget);
        let mut plan = topology
            .exporters(args.exporters)
            .receivers(args.receivers)
            .flags(Role::Exporter, exporter_budgets)
            .flags(Role::Receiver, receiver_budgets)
            .plan::<Processes>()?;
        let services = plan.folder().to_owned();
        for (i, receiver) in plan.receivers.iter_mut().enumerate() {
            let own = services.join(format!("prometheus-{i}.yml"));
            config(i).write(&own, KeysIn::Environment)?;
            receiver.config_file = Some(own);
            if let Some(after) = args.spill_after() {
                let directory = services.join(&receiver.name);
                receiver.flags.extend([
                    format!("--outbox.spill-dir={}", directory.display()),
                    format!("--outbox.spill-after={}", duration::format(after)),
                ]);
            }
        }
        Ok(Self {
            targets,
            mesh: plan.start(&launcher).await?,
            _folder: folder,
        })
    }

    /// All running processes, in the order a sample travels.
    pub(super) fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        let services = std::iter::once(&self.targets)
            .chain(&self.mesh.receivers)
            .chain(&self.mesh.exporters);
        services.filter_map(|service| Some((&*service.name, service.pid()?)))
    }

    /// Account of a running receiver.
    ///
    /// # Errors
    /// Returns an error if the receiver does not respond.
    pub(super) async fn account(&self, receiver: usize) -> anyhow::Result<Account> {
        let metrics = self.mesh.receivers[receiver].metrics().await?;
        Ok(Account::of_metrics(&metrics, RECEIVER))
    }

    /// Process of a victim.
    pub(super) fn service(&mut self, victim: Victim) -> &mut Process {
        match victim {
            Victim::Receiver(i) => &mut self.mesh.receivers[i],
            Victim::Exporter(i) => &mut self.mesh.exporters[i],
        }
    }

    /// Memory of an exporter's exports in flight, in bytes.
    ///
    /// # Errors
    /// Returns an error if the exporter does not respond.
    pub(super) async fn in_flight(&self, exporter: usize) -> anyhow::Result<u64> {
        let metrics = self.mesh.exporters[exporter].metrics().await?;
        Ok(metrics.sum("promesh_exporter_ingest_in_flight_bytes") as u64)
    }

    /// Describes the exporters that received more samples than they finished. No export may
    /// be in flight.
    ///
    /// # Errors
    /// Returns an error if an exporter does not respond.
    pub(super) async fn unbalanced(&self) -> anyhow::Result<Vec<String>> {
        let mut unbalanced = Vec::new();
        for exporter in &self.mesh.exporters {
            let metrics = exporter.metrics().await?;
            let received = metrics.sum("promesh_exporter_samples_received_total");
            let finished = metrics.sum("promesh_exporter_samples_total");
            if received > finished {
                let name = &exporter.name;
                unbalanced.push(format!(
                    "{name} received {received} samples and finished {finished}"
                ));
            }
        }
        Ok(unbalanced)
    }

    /// Stops the receivers, which deliver their pending batches first. Reads the final
    /// account in each log.
    ///
    /// # Errors
    /// Returns an error if a receiver does not stop in time, or writes no account.
    pub(super) async fn stop_receivers(&mut self) -> anyhow::Result<Vec<Lifetime>> {
        // The final account does not contain the replayed samples.
        let mut replayed = Vec::new();
        for receiver in 0..self.mesh.receivers.len() {
            replayed.push(self.account(receiver).await?.replayed);
        }
        let stops = self
            .mesh
            .receivers
            .iter_mut()
            .map(|receiver| receiver.stop(DRAIN));
        futures::future::try_join_all(stops).await?;
        let ended = self.mesh.receivers.iter().enumerate();
        ended
            .map(|(i, receiver)| {
                let account = Account::of_log(&receiver.log()?)?.pop();
                let account = account
                    .with_context(|| format!("{}: no final account in the log", receiver.name))?;
                Ok(Lifetime {
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

async fn start_targets(args: &LoadArgs, program: &Path, logs: &Path) -> anyhow::Result<Process> {
    let flags = [
        "load-targets".to_owned(),
        format!("--targets={}", args.targets()),
        format!("--series={}", args.series()),
    ];
    Process::start(program, "targets", &flags, &[], logs).await
}

/// Configuration of a receiver. Each has its own name in the request header that targets
/// record.
fn config(args: &LoadArgs, targets: SocketAddr, amp: &Amp, receiver: usize) -> Config {
    let static_configs = (0..args.targets()).map(|target| {
        format!(
            "  - targets: ['{targets}']\n    labels: {{instance: {}, __metrics_path__: {}}}\n",
            exposition::instance(target),
            targets::path(target),
        )
    });
    let job = format!(
        "- job_name: {}
  http_headers: {{{SCRAPED_BY}: {{values: ['{receiver}']}}}}
  static_configs:
{}",
        exposition::JOB,
        static_configs.collect::<String>(),
    );
    Config::default()
        .interval(&duration::format(args.interval))
        .external_labels("cluster: load")
        .jobs(&job)
        .remote_write(RemoteWrite::to(amp))
}
