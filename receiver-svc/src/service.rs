//! The receiver as a service: starts its parts, and stops them in order.

mod pages;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use mesh_balance::{Balance, BalanceMetrics};
use mesh_base::{budget::Budget, clock::Clock, shutdown::Shutdown};
use mesh_contract::{
    batch::BatchContext,
    ha::{self, HaError},
};
use mesh_kubernetes::endpoints::{self, Discovered, StartError};
use mesh_model::config::{Config, ConfigError};
use mesh_net::connector::plaintext;
use mesh_net::endpoints::{Addresses as Known, Endpoints};
use mesh_net::tls::TlsError;
use mesh_outbox::{Outbox, Workers};
use mesh_service::{
    admin::{Admin, Readiness},
    reload::{self, Reloader, Requests},
};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::Instant,
};
use tracing::{error, info, warn};

use crate::{
    args::Args,
    batch_context::batch_context,
    discovery::{Discovery, DiscoveryError, DiscoveryMetrics},
    handover::{self, Handover, HandoverMetrics, Poller},
    heartbeat::{Heartbeat, HeartbeatMetrics},
    scrape::{JobError, Manager, ScrapeMetrics, Shared},
    shard::{self, Shards},
};

/// Receiver that listens and does not scrape yet.
#[derive(Debug)]
pub struct Bound {
    /// Listen addresses.
    pub addresses: Addresses,
    args: Args,
    web: TcpListener,
    registry: Registry,
    workers: Workers,
    scraping: Scraping,
    heartbeat: Heartbeat,
    handover: Handover,
    poller: Poller,
}

/// Listen addresses of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Address of the admin port.
    pub web: SocketAddr,
}

/// The receiver could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The TLS files for exporters cannot be used.
    #[error("--exporter.tls.*: {0}")]
    ExporterTls(#[from] TlsError),
    /// The configuration is valid, and cannot be applied.
    #[error("{}: {source}", .file.display())]
    Apply {
        /// Path of the configuration file.
        file: PathBuf,
        /// Cause.
        source: ApplyError,
    },
    /// The admin port cannot be listened on.
    #[error("--web.listen-address={address}: {source}")]
    Listen {
        /// Configured address.
        address: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
    /// Exporters or members cannot be discovered.
    #[error("{flag}: {source}")]
    Endpoints {
        /// Flag that names the exporters or members.
        flag: &'static str,
        /// Cause.
        source: StartError,
    },
    /// The admin port failed.
    #[error("admin port: {0}")]
    Serve(std::io::Error),
}

/// A valid configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The external labels do not describe an HA replica.
    #[error(transparent)]
    Ha(#[from] HaError),
    /// A job cannot be prepared.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A discovery mechanism cannot be started.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

/// Scrape manager and its inputs: configuration, discovery and members.
#[derive(Debug)]
struct Scraping {
    config_file: PathBuf,
    manager: Manager,
    discovery: Discovery,
    shards: Shards,
    /// Names of this receiver, if it shares its targets with others. The replica label must be
    /// none of them.
    own_names: Vec<String>,
    context: watch::Sender<Arc<BatchContext>>,
}

/// Loads the configuration, opens the admin port and starts to connect to exporters.
///
/// # Errors
/// Returns an error if the configuration cannot be applied, the port is in use, or exporters or
/// members cannot be discovered.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let config = Config::load(&args.config_file)?;
    let address = args.web_listen_address;
    let web = TcpListener::bind(address).await;
    let web = web.map_err(|source| Error::Listen { address, source })?;
    let mut registry = Registry::with_prefix("promesh_receiver");
    let balance_metrics = BalanceMetrics::default();
    balance_metrics.register(&mut registry);
    let exporters = discover(&args.exporter.endpoints, "--exporter.endpoints").await?;
    let connector = args.exporter.tls.over(plaintext())?;
    let balance = Balance::new(&args.exporter, exporters.ready, connector, balance_metrics);
    let clock = Clock::system();
    let (outbox, workers) = Outbox::sharing_keys(&args.outbox, clock.clone(), balance);
    registry.register_collector(Box::new(outbox.collector()));
    let (shards, unready) = shards(&args).await?;
    let (handover, poller) = Handover::new(
        handover::Options {
            name: args.shard.self_address.clone().unwrap_or_default(),
            members_are_ready: args
                .shard
                .members
                .as_ref()
                .is_some_and(Endpoints::are_ready),
            unready,
            timeout: args.shard.handover_timeout(),
            away_timeout: args.shard.away_timeout(),
            connector: None,
        },
        clock.clone(),
        outbox.clone(),
        HandoverMetrics::register(&mut registry),
    );
    let discovery_metrics = DiscoveryMetrics::default();
    discovery_metrics.register(&mut registry);
    let interval = Duration::from_secs(args.discovery_update_interval_seconds);
    let heartbeat_metrics = HeartbeatMetrics::register(&mut registry);
    let mut scraping = Scraping {
        config_file: args.config_file.clone(),
        manager: Manager::new(Shared {
            clock: clock.clone(),
            outbox: outbox.clone(),
            ownership: Arc::new(handover.clone()),
            budget: Budget::new(args.memory_budget),
            concurrency: Arc::new(Semaphore::new(args.max_concurrent_scrapes)),
            metrics: ScrapeMetrics::register(&mut registry),
            max_body_bytes: args.max_body_bytes,
            start_timestamps: args.start_timestamps,
            connector: None,
        }),
        discovery: Discovery::new(discovery_metrics, interval).on_node(args.node_local.clone()),
        shards,
        own_names: own_names(&args),
        context: watch::Sender::default(),
    };
    let applied = scraping.apply(&config).await;
    applied.map_err(|source| Error::Apply {
        file: args.config_file.clone(),
        source,
    })?;
    let addresses = Addresses {
        web: web.local_addr().unwrap_or(address),
    };
    let heartbeat = Heartbeat::new(
        args.heartbeat.interval(),
        outbox,
        clock,
        scraping.context.subscribe(),
        &instance(&args, addresses),
        heartbeat_metrics,
    );
    Ok(Bound {
        addresses,
        heartbeat,
        args,
        web,
        registry,
        workers,
        scraping,
        handover,
        poller,
    })
}

/// Label `instance` of the heartbeat series.
fn instance(args: &Args, addresses: Addresses) -> String {
    let host = || ha::own_names().into_iter().next();
    args.shard.self_address.clone().unwrap_or_else(|| {
        let host = host().unwrap_or_else(|| addresses.web.ip().to_string());
        format!("{host}:{}", addresses.web.port())
    })
}

async fn discover(endpoints: &Endpoints, flag: &'static str) -> Result<Discovered, Error> {
    let discovered = endpoints::discover(endpoints).await;
    discovered.map_err(|source| Error::Endpoints { flag, source })
}

/// Names that the replica label must not have.
///
/// Receivers that share targets form one replica, and none of them may give it its own name. A
/// receiver that shares its targets with no other may do so.
fn own_names(args: &Args) -> Vec<String> {
    match &args.shard.self_address {
        Some(own) => [ha::own_names(), vec![own.clone()]].concat(),
        None => Vec::new(),
    }
}

/// Members of the replica group, and its receivers that are not ready.
async fn shards(args: &Args) -> Result<(Shards, Known), Error> {
    match (&args.shard.members, &args.shard.self_address) {
        (Some(members), Some(own)) => {
            let members = discover(members, "--shard.members").await?;
            let shards = shard::follow(own.clone(), members.ready);
            Ok((shards, members.unready))
        }
        _ => Ok((shard::alone(), watch::channel(None).1)),
    }
}

// === impl Bound ===

impl Bound {
    /// Scrapes until `shutdown`, then delivers the pending batches until the shutdown timeout.
    /// Writes no staleness markers when it stops (law 8).
    ///
    /// # Errors
    /// Returns an error if the admin port fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self {
            args, mut scraping, ..
        } = self;
        info!(web = %self.addresses.web, "Receiver started");
        let readiness = Readiness::default();
        let (reloader, requests) = reload::channel();
        reload_on_hangup(&reloader);
        // The admin port serves until everything else has ended.
        let (admin_stop, admin_shutdown) = mesh_base::shutdown::channel();
        let status = scraping.manager.status();
        let routes = pages::router(status.clone()).merge(self.handover.router());
        let admin = Admin::new("receiver-svc", self.registry, readiness.clone())
            .with_reload(reloader)
            .with_routes(&["/targets"], routes);
        let mut admin = tokio::spawn(admin.serve(self.web, admin_shutdown));
        let poller = tokio::spawn(self.poller.run());
        readiness.set(true);
        tokio::select! {
            () = scraping.run(requests) => {}
            // Heartbeats end with the scraping, before the pending batches are delivered.
            () = self.heartbeat.run(|now_ms| status.borrow().is_scraping(now_ms)) => {}
            () = shutdown.signaled() => {}
            served = &mut admin => return served.unwrap_or(Ok(())).map_err(Error::Serve),
        }
        readiness.set(false);
        let members = scraping.shards.clone();
        // Cancels all scrape loops. They write no staleness markers.
        drop(scraping);
        self.handover.stop();
        let deadline = Instant::now() + Duration::from_secs(args.shutdown_timeout_seconds);
        let account = tokio::select! {
            account = self.workers.drain(deadline) => account,
            never = self.handover.follow_members(members) => match never {},
        };
        if account.waiting == 0 {
            self.handover.announce_drained().await;
        }
        poller.abort();
        info!(%account, "Receiver stopped");
        admin_stop.fire();
        let _ = admin.await;
        Ok(())
    }
}

fn reload_on_hangup(reloader: &Reloader) {
    if let Err(error) = reloader.on_hangup() {
        warn!(%error, "Cannot reload on SIGHUP, use POST /-/reload");
    }
}

// === impl Scraping ===

impl Scraping {
    /// Follows discovery, the members, their overrides and reload requests. Returns only if
    /// discovery or the members end.
    async fn run(&mut self, mut requests: Requests) {
        let mut jobs = self.discovery.jobs();
        // Values that were published before this loop started count as changes.
        jobs.mark_changed();
        self.shards.mark_changed();
        loop {
            tokio::select! {
                changed = jobs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = jobs.borrow_and_update().clone();
                    self.manager.update_targets(&known);
                }
                changed = self.shards.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = self.shards.borrow_and_update().clone();
                    if let Some(shard) = known {
                        self.manager.update_shard(shard);
                    }
                }
                () = self.manager.overrides_changed() => {}
                request = requests.next() => {
                    let outcome = self.reload().await;
                    match &outcome {
                        Ok(()) => info!("Configuration reloaded"),
                        Err(error) => error!(%error, "Reload failed, the previous configuration stays in use"),
                    }
                    request.answer(outcome);
                }
            }
            self.manager.sync();
        }
    }

    async fn reload(&mut self) -> Result<(), Error> {
        let config = Config::load(&self.config_file)?;
        self.apply(&config).await.map_err(|source| Error::Apply {
            file: self.config_file.clone(),
            source,
        })
    }

    /// Applies a configuration. Changes nothing if it fails.
    async fn apply(&mut self, config: &Config) -> Result<(), ApplyError> {
        let context = Arc::new(batch_context(config, &self.own_names)?);
        let prepared = self.manager.prepare(&config.scrape_configs, &context)?;
        self.discovery.apply(&config.scrape_configs).await?;
        self.manager.apply(prepared);
        self.context.send_replace(context);
        for section in &config.ignored_sections {
            info!(section, "Configuration section ignored");
        }
        Ok(())
    }
}
