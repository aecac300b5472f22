//! The host of a receiver: receiver-svc on the simulated network, with what a platform would
//! discover for it.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use mesh_base::clock::Clock;
use mesh_kubernetes::endpoints::Discovered;
use receiver_svc::{Addresses, Args, Environment, bind_with, scrape::Status, shard::Shards};
use tokio::sync::watch;

use super::{clock::now_ms, exports::ExportLog, net, processes::Processes};

/// `--shard.handover-timeout`, with its default.
pub(super) const HANDOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// `--shard.away-timeout`. Shorter than its default, since a simulation ends within a minute of
/// the last fault.
pub(super) const AWAY_TIMEOUT: Duration = Duration::from_secs(30);
/// `--shutdown.timeout`, with its default.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// `--ha.heartbeat-interval` of groups with heartbeats, with its default.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Port on which members call each other, by host name and without a port.
const PEERS_PORT: u16 = 80;
/// Admin port.
const PORT: u16 = 8080;

/// Settings of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    /// Replica group of the receiver.
    pub(super) group: String,
    /// Limit of the bytes in flight.
    pub(super) in_flight_kib: u16,
    /// True if it sends heartbeats.
    pub(super) heartbeats: bool,
    /// Spill directory, and the age in seconds at which batches are spilled.
    pub(super) spill: Option<(PathBuf, u64)>,
    /// Path of the configuration file.
    pub(super) config: PathBuf,
    /// Path of the file with the group's token.
    pub(super) tokens: PathBuf,
}

/// Knowledge of one receiver about its peers, and the skew of its clock.
#[derive(Debug)]
pub(super) struct View {
    pub(super) members: watch::Sender<Option<BTreeSet<String>>>,
    /// Members of its group that exist and are not ready.
    pub(super) unready: watch::Sender<Option<BTreeSet<String>>>,
    pub(super) exporters: watch::Sender<Option<BTreeSet<String>>>,
    pub(super) skew_ms: Arc<AtomicI64>,
}

/// Runs a receiver until shutdown, and records what it does.
pub(super) async fn run(processes: Arc<Processes>, spec: Spec, view: Arc<View>) -> turmoil::Result {
    let exports = ExportLog::default();
    let environment = view.environment(exports.clone()).await?;
    let receiver = bind_with(spec.args()?, environment).await?;
    let name = &spec.name;
    let shutdown = processes.start(name);
    processes.observe(name, &spec.group, receiver.outbox().clone(), exports);
    let (shards, status) = (receiver.shards(), receiver.status());
    tokio::spawn(record_reassignments(
        processes.clone(),
        name.clone(),
        shards,
    ));
    tokio::spawn(record_stop(processes.clone(), name.clone(), status));
    receiver.run(shutdown).await?;
    processes.ended(name);
    Ok(())
}

async fn record_reassignments(processes: Arc<Processes>, name: String, mut shards: Shards) {
    // The share that the receiver knows at its start counts as a change, too.
    shards.mark_changed();
    while shards.changed().await.is_ok() {
        if shards.borrow_and_update().is_some() {
            processes.reassigned(&name);
        }
    }
}

/// Records when scraping stops, which closes the channel of the status.
async fn record_stop(
    processes: Arc<Processes>,
    name: String,
    mut status: watch::Receiver<Arc<Status>>,
) {
    while status.changed().await.is_ok() {}
    processes.stopped(&name);
}

// === impl Spec ===

impl Spec {
    fn args(&self) -> Result<Args, clap::Error> {
        let heartbeat = if self.heartbeats {
            HEARTBEAT
        } else {
            Duration::ZERO
        };
        let mut flags = vec![
            "receiver-svc".to_owned(),
            format!("--config.file={}", self.config.display()),
            // The view replaces the discovery of exporters and members.
            "--exporter.endpoints=k8s:///simulation/exporter:4317".to_owned(),
            "--shard.members=k8s:///simulation/receiver:80".to_owned(),
            format!("--shard.self={}", self.name),
            // Simulated addresses cannot be resolved, as a receiver without a token would do.
            format!("--shard.token-file={}", self.tokens.display()),
            format!("--shard.handover-timeout={}", HANDOVER_TIMEOUT.as_secs()),
            format!("--shard.away-timeout={}", AWAY_TIMEOUT.as_secs()),
            format!("--ha.heartbeat-interval={}", heartbeat.as_secs()),
            format!("--shutdown.timeout={}", SHUTDOWN_TIMEOUT.as_secs()),
            format!("--outbox.max-in-flight-bytes={}KiB", self.in_flight_kib),
        ];
        if let Some((dir, after_seconds)) = &self.spill {
            flags.push(format!("--outbox.spill-dir={}", dir.display()));
            flags.push(format!("--outbox.spill-after={after_seconds}"));
        }
        Args::try_parse_from(flags)
    }
}

// === impl View ===

impl View {
    async fn environment(
        &self,
        exports: ExportLog,
    ) -> io::Result<Environment<net::Listener, ExportLog>> {
        let skew_ms = self.skew_ms.clone();
        Ok(Environment {
            clock: Clock::new(move || now_ms() + skew_ms.load(Ordering::Relaxed)),
            listener: net::Listener::bind(PORT).await?,
            peers: Some(net::Listener::bind(PEERS_PORT).await?),
            addresses: Addresses {
                web: net::any_address(PORT),
            },
            connector: Some(net::connector(PEERS_PORT)),
            exporters: self.exporters.subscribe(),
            members: Some(Discovered {
                ready: self.members.subscribe(),
                unready: self.unready.subscribe(),
            }),
            exports,
            reloads_by_itself: false,
        })
    }
}
