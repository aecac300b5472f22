//! The receiver as a service: what runs, and in which order it stops.

mod pages;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use mesh::{
    admin::{Admin, Readiness},
    balance::{Balance, BalanceMetrics, plaintext},
    batch::Facts,
    budget::Budget,
    clock::Clock,
    config::{Config, ConfigError},
    endpoints::{Addresses as Known, Discovered, Endpoints, StartError},
    ha::{self, HaError},
    outbox::{Outbox, Workers},
    reload::{self, Reloader, Requests},
    shutdown::Shutdown,
    tls::TlsError,
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
    discovery::{Discovery, DiscoveryError, DiscoveryMetrics},
    facts::facts,
    handover::{self, Asker, Handover, HandoverMetrics},
    heartbeat::{Heartbeat, HeartbeatMetrics},
    scrape::{JobError, Manager, ScrapeMetrics, Shared},
    shard::{self, Shards},
};

/// A receiver that listens but does not scrape yet.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens.
    pub addresses: Addresses,
    args: Args,
    web: TcpListener,
    registry: Registry,
    workers: Workers,
    scraping: Scraping,
    heartbeat: Heartbeat,
    handover: Handover,
    asker: Asker,
}

/// Where a receiver listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The admin port.
    pub web: SocketAddr,
}

/// A receiver that could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The files of TLS towards exporters cannot be used.
    #[error("--exporter.tls.*: {0}")]
    ExporterTls(#[from] TlsError),
    /// Its contents cannot be run.
    #[error("{}: {source}", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: Unusable,
    },
    /// The admin port cannot be listened on.
    #[error("--web.listen-address={address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Exporters or members cannot be discovered.
    #[error("{flag}: {source}")]
    Endpoints {
        /// The flag that names them.
        flag: &'static str,
        /// Why not.
        source: StartError,
    },
    /// The admin port failed.
    #[error("admin port: {0}")]
    Serve(std::io::Error),
}

/// Why a configuration that means something cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its external labels make no HA pair.
    #[error(transparent)]
    Ha(#[from] HaError),
    /// A job's client cannot be made.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Targets of a job cannot be discovered.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

/// What scrapes, and what tells it what to scrape.
#[derive(Debug)]
struct Scraping {
    config_file: PathBuf,
    manager: Manager,
    discovery: Discovery,
    shards: Shards,
    /// What this receiver is called and its replica group is not, where it shares
    /// the targets with others.
    own_names: Vec<String>,
    facts: watch::Sender<Arc<Facts>>,
}

/// Listens, reads the configuration, and starts to connect to exporters.
///
/// # Errors
/// Where the configuration cannot be run, the port is taken, or exporters or
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
    let (handover, asker) = Handover::new(
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
    let beats = HeartbeatMetrics::register(&mut registry);
    let mut scraping = Scraping {
        config_file: args.config_file.clone(),
        manager: Manager::new(Shared {
            clock: clock.clone(),
            outbox: outbox.clone(),
            handover: handover.clone(),
            budget: Budget::new(args.memory_budget),
            running: Arc::new(Semaphore::new(args.max_concurrent_scrapes)),
            metrics: ScrapeMetrics::register(&mut registry),
            max_body_bytes: args.max_body_bytes,
            start_timestamps: args.start_timestamps,
            connector: None,
        }),
        discovery: Discovery::new(discovery_metrics, interval).on_node(args.node_local.clone()),
        shards,
        own_names: own_names(&args),
        facts: watch::Sender::default(),
    };
    let applied = scraping.apply(&config).await;
    applied.map_err(|source| Error::Unusable {
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
        scraping.facts.subscribe(),
        &name(&args, addresses),
        beats,
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
        asker,
    })
}

/// What this receiver is called in the series of its heartbeat.
fn name(args: &Args, addresses: Addresses) -> String {
    let host = || ha::own_names().into_iter().next();
    args.shard.self_address.clone().unwrap_or_else(|| {
        let host = host().unwrap_or_else(|| addresses.web.ip().to_string());
        format!("{host}:{}", addresses.web.port())
    })
}

async fn discover(endpoints: &Endpoints, flag: &'static str) -> Result<Discovered, Error> {
    let discovered = endpoints.discover().await;
    discovered.map_err(|source| Error::Endpoints { flag, source })
}

/// Receivers that share targets are one replica, which none of them may be called.
/// One that is alone may give the replica its own name.
fn own_names(args: &Args) -> Vec<String> {
    match &args.shard.self_address {
        Some(own) => [ha::own_names(), vec![own.clone()]].concat(),
        None => Vec::new(),
    }
}

/// The replica group, and those of it that are not ready.
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
    /// Scrapes until it is time to stop, then delivers what waits until the
    /// shutdown timeout. Stopping writes no staleness markers (law 8).
    ///
    /// # Errors
    /// Where the admin port fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self {
            args, mut scraping, ..
        } = self;
        info!(web = %self.addresses.web, "Receiver started");
        let readiness = Readiness::default();
        let (reloader, requests) = reload::channel();
        reload_on_hangup(&reloader);
        // The admin port answers until everything else has ended.
        let (admin_stop, admin_shutdown) = mesh::shutdown::channel();
        let status = scraping.manager.status();
        let routes = pages::router(status.clone()).merge(self.handover.router());
        let admin = Admin::new("receiver-svc", self.registry, readiness.clone())
            .with_reload(reloader)
            .with_routes(&["/targets"], routes);
        let mut admin = tokio::spawn(admin.serve(self.web, admin_shutdown));
        let asker = tokio::spawn(self.asker.run());
        readiness.set(true);
        tokio::select! {
            () = scraping.run(requests) => {}
            // It ends with the scraping, before what waits is delivered.
            () = self.heartbeat.run(|now_ms| status.borrow().is_scraping(now_ms)) => {}
            () = shutdown.signaled() => {}
            served = &mut admin => return served.unwrap_or(Ok(())).map_err(Error::Serve),
        }
        readiness.set(false);
        let members = scraping.shards.clone();
        // Ends all loops, without a marker.
        drop(scraping);
        self.handover.stop();
        let deadline = Instant::now() + Duration::from_secs(args.shutdown_timeout_seconds);
        let account = tokio::select! {
            account = self.workers.drain(deadline) => account,
            never = self.handover.follow_all(members) => match never {},
        };
        if account.waiting == 0 {
            self.handover.drained().await;
        }
        asker.abort();
        info!(%account, "Receiver stopped");
        admin_stop.fire();
        let _ = admin.await;
        Ok(())
    }
}

fn reload_on_hangup(reloader: &Reloader) {
    if let Err(error) = reloader.on_hangup() {
        warn!(%error, "SIGHUP does not reload; POST /-/reload does");
    }
}

// === impl Scraping ===

impl Scraping {
    /// Follows discovery, the members of the group, what they say and reloads, for ever.
    async fn run(&mut self, mut requests: Requests) {
        let mut jobs = self.discovery.jobs();
        // What was published before is news to this loop.
        jobs.mark_changed();
        self.shards.mark_changed();
        loop {
            tokio::select! {
                changed = jobs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = jobs.borrow_and_update().clone();
                    self.manager.discovered(&known);
                }
                changed = self.shards.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let known = self.shards.borrow_and_update().clone();
                    if let Some(shard) = known {
                        self.manager.share(shard);
                    }
                }
                () = self.manager.told() => {}
                request = requests.next() => {
                    let outcome = self.reload().await;
                    match &outcome {
                        Ok(()) => info!("Configuration reloaded"),
                        Err(error) => error!(%error, "Not reloaded, the old configuration stays"),
                    }
                    request.answer(outcome);
                }
            }
            self.manager.sync();
        }
    }

    async fn reload(&mut self) -> Result<(), Error> {
        let config = Config::load(&self.config_file)?;
        self.apply(&config).await.map_err(|source| Error::Unusable {
            file: self.config_file.clone(),
            source,
        })
    }

    /// Takes up a configuration, or changes nothing.
    async fn apply(&mut self, config: &Config) -> Result<(), Unusable> {
        let facts = Arc::new(facts(config, &self.own_names)?);
        let prepared = self.manager.prepare(&config.scrape_configs, &facts)?;
        self.discovery.apply(&config.scrape_configs).await?;
        self.manager.apply(prepared);
        self.facts.send_replace(facts);
        for section in &config.ignored_sections {
            info!(section, "Section left to others");
        }
        Ok(())
    }
}
