//! Connects the parts of a receiver to each other and to their environment.

use std::sync::Arc;

use mesh_balance::{Balance, BalanceMetrics};
use mesh_base::{budget::Budget, clock::Clock};
use mesh_contract::{
    export::{Export, ExportError},
    ha,
    report::ExportResponse,
};
use mesh_kubernetes::endpoints::Discovered;
use mesh_model::config::Config;
use mesh_net::{
    connector::{Connector, plaintext},
    endpoints::{Addresses as Known, Endpoints},
    http_client,
    server::ServeMetrics,
};
use mesh_outbox::Outbox;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore, watch};
use tower::{Layer, Service};

use super::{
    Loaded,
    bound::Bound,
    environment::{Addresses, Environment},
    error::Error,
    scraping::{Monitors, Scraping},
};
use crate::{
    args::Args,
    discovery::{Discovery, DiscoveryMetrics},
    handover::{self, Handover, HandoverMetrics, Poller},
    heartbeat::{Heartbeat, HeartbeatMetrics},
    monitors::{Following, MonitorStatus},
    scrape::{Endings, Manager, ScrapeMetrics, Shared, TargetHealth},
    shard::{self, Shards},
};

/// Wires a receiver and applies its configuration.
pub(super) async fn wire<L, X, E>(
    args: Args,
    Loaded { config, watch }: Loaded,
    environment: Environment<L, X>,
) -> Result<Bound<L>, Error>
where
    X: Layer<Balance, Service = E>,
    E: Service<Export, Response = ExportResponse, Error = ExportError> + Clone + Send + 'static,
    E::Future: Send,
{
    let Environment {
        clock,
        listener,
        peers,
        addresses,
        connector,
        exporters,
        members,
        exports,
        reloads_by_itself,
    } = environment;
    let mut registry = Registry::with_prefix("promesh_receiver");
    http_client::register_metrics(&mut registry);
    let balance = balance(&args, exporters, connector.clone(), &mut registry)?;
    let exports = exports.layer(balance);
    let (outbox, workers) = Outbox::sharing_keys(&args.outbox, clock.clone(), exports);
    registry.register_collector(Box::new(outbox.collector()));
    let mut parts = Parts {
        args: &args,
        clock,
        connector,
        outbox,
        registry,
    };
    let (shards, unready) = shards(&args, members);
    let (handover, poller) = parts.handover(unready)?;
    let serve_metrics = ServeMetrics::register(&mut parts.registry);
    let web = args.web.server(listener, &serve_metrics);
    let peers = peers.map(|peers| args.shard.peering.server(peers, &serve_metrics));
    let peers = peers.transpose()?;
    let scraping = parts.scraping(&handover, shards, &config).await?;
    let heartbeat = parts.heartbeat(&scraping, addresses);
    let Parts {
        outbox, registry, ..
    } = parts;
    Ok(Bound {
        addresses,
        web,
        peers,
        watch: reloads_by_itself.then_some(watch),
        shutdown_timeout: args.shutdown_timeout,
        registry,
        outbox,
        workers,
        scraping,
        heartbeat,
        handover,
        poller,
    })
}

/// Creates the client of the exporters.
fn balance(
    args: &Args,
    exporters: Known,
    connector: Option<Connector>,
    registry: &mut Registry,
) -> Result<Balance, Error> {
    let metrics = BalanceMetrics::default();
    metrics.register(registry);
    let tcp = connector.unwrap_or_else(plaintext);
    let connector = args.exporter.tls.over(tcp)?;
    Ok(Balance::new(&args.exporter, exporters, connector, metrics))
}

/// Members of the replica group, and its receivers that are not ready.
fn shards(args: &Args, members: Option<Discovered>) -> (Shards, Known) {
    match (members, &args.shard.self_address) {
        (Some(members), Some(own)) => (shard::follow(own.clone(), members.ready), members.unready),
        _ => (shard::alone(), watch::channel(None).1),
    }
}

/// Handles that several parts of a receiver use.
struct Parts<'a> {
    args: &'a Args,
    clock: Clock,
    connector: Option<Connector>,
    outbox: Outbox,
    registry: Registry,
}

// === impl Parts ===

impl Parts<'_> {
    fn handover(&mut self, unready: Known) -> Result<(Handover, Poller), Error> {
        let shard = &self.args.shard;
        let own = shard.self_address.as_deref();
        let connector = shard.peering.connector(self.connector.clone(), own)?;
        let options = handover::Options {
            name: shard.self_address.clone().unwrap_or_default(),
            members_are_ready: shard.members.as_ref().is_some_and(Endpoints::are_ready),
            unready,
            timeout: shard.handover_timeout,
            away_timeout: shard.away_timeout,
            connector,
            access: shard.peering.access()?,
        };
        let metrics = HandoverMetrics::register(&mut self.registry);
        let (clock, outbox) = (self.clock.clone(), self.outbox.clone());
        Ok(Handover::new(options, clock, outbox, metrics))
    }

    /// Creates the scrape manager and its inputs, and applies the configuration.
    async fn scraping(
        &mut self,
        handover: &Handover,
        shards: Shards,
        config: &Config,
    ) -> Result<Scraping, Error> {
        let args = self.args;
        let unauthorized = Arc::default();
        let discovery = self.discovery();
        let monitors = self.monitors(&discovery, &unauthorized);
        let mut scraping = Scraping {
            config_file: args.config_file.clone(),
            discovery,
            config: Some(config.clone()),
            monitors,
            manager: Manager::new(Shared {
                clock: self.clock.clone(),
                outbox: self.outbox.clone(),
                ownership: Arc::new(handover.clone()),
                endings: Endings::default(),
                budget: Budget::new(args.memory_budget.in_memory()),
                series_budget: Budget::new(args.series_memory_budget.in_memory()),
                max_series_bytes: args.max_series_bytes.in_memory(),
                texts: args.texts(),
                concurrency: Arc::new(Semaphore::new(args.max_concurrent_scrapes)),
                metrics: ScrapeMetrics::register(&mut self.registry),
                max_body_bytes: args.max_body_bytes.bytes(),
                zstd: args.zstd,
                start_timestamps: args.start_timestamps,
                connector: self.connector.clone(),
                unauthorized,
            }),
            shards,
            own_names: own_names(args),
            context: watch::Sender::default(),
        };
        let health = TargetHealth::new(scraping.manager.status());
        self.registry.register_collector(Box::new(health));
        scraping.apply(config).await?;
        Ok(scraping)
    }

    /// Starts to follow the monitors of the cluster if they are scraped too.
    fn monitors(&mut self, discovery: &Discovery, unauthorized: &Arc<Notify>) -> Option<Monitors> {
        let args = self.args.monitors.clone();
        args.cluster.then(|| {
            let status = MonitorStatus::register(&mut self.registry);
            let (clusters, unauthorized) = (discovery.clusters(), unauthorized.clone());
            Monitors {
                following: Following::start(args, clusters, unauthorized, status.clone()),
                status,
            }
        })
    }

    fn discovery(&mut self) -> Discovery {
        let metrics = DiscoveryMetrics::default();
        metrics.register(&mut self.registry);
        let interval = self.args.discovery_update_interval;
        Discovery::new(metrics, interval)
            .on_node(self.args.node_local.clone())
            .with_max_list_bytes(self.args.discovery_max_list_bytes.in_memory())
    }

    fn heartbeat(&mut self, scraping: &Scraping, addresses: Addresses) -> Heartbeat {
        let metrics = HeartbeatMetrics::register(&mut self.registry);
        Heartbeat::new(
            self.args.heartbeat.interval,
            self.outbox.clone(),
            self.clock.clone(),
            scraping.context.subscribe(),
            &instance(self.args, addresses),
            metrics,
        )
    }
}

/// Label `instance` of the heartbeat series.
fn instance(args: &Args, addresses: Addresses) -> String {
    let host = || ha::own_names().into_iter().next();
    args.shard.self_address.clone().unwrap_or_else(|| {
        let host = host().unwrap_or_else(|| addresses.web.ip().to_string());
        format!("{host}:{}", addresses.web.port())
    })
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
