//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use mesh::{balance::ExporterArgs, outbox::OutboxArgs, telemetry::LogArgs};

use crate::{heartbeat::HeartbeatArgs, shard::ShardArgs};

/// Discovers and scrapes Prometheus targets and sends their samples to exporters.
///
/// Reads a Prometheus configuration file as it is. Any number of receivers with
/// the same `global.external_labels` share the targets among them
/// (`--shard.members`); a second group with another `__replica__` makes an HA
/// pair. What was scraped is kept until an exporter says what became of it.
#[derive(Clone, Debug, Parser)]
#[command(name = "receiver-svc", version)]
pub struct Args {
    /// Prometheus configuration file; `global` and `scrape_configs` are used.
    #[arg(
        long = "config.file",
        env = "PROMESH_CONFIG_FILE",
        default_value = "prometheus.yml"
    )]
    pub config_file: PathBuf,

    /// Where /metrics, /targets, /-/healthy, /-/ready and /-/reload are served.
    #[arg(
        long = "web.listen-address",
        env = "PROMESH_WEB_LISTEN_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub web_listen_address: SocketAddr,

    /// Bytes of bodies that all running scrapes may hold; a scrape that would need
    /// more fails.
    #[arg(
        long = "scrape.memory-budget",
        env = "PROMESH_SCRAPE_MEMORY_BUDGET",
        default_value_t = 512 << 20
    )]
    pub memory_budget: usize,

    /// Bytes that a decompressed body may not reach, whatever its job allows.
    #[arg(
        long = "scrape.max-body-bytes",
        env = "PROMESH_SCRAPE_MAX_BODY_BYTES",
        default_value_t = 256 << 20
    )]
    pub max_body_bytes: u64,

    /// Scrapes that may run at once; others wait for their turn within their slot.
    #[arg(
        long = "scrape.max-concurrent",
        env = "PROMESH_SCRAPE_MAX_CONCURRENT",
        default_value_t = 1000
    )]
    pub max_concurrent_scrapes: usize,

    /// Take `_created` samples as start times rather than as series.
    #[arg(
        long = "scrape.start-timestamps",
        env = "PROMESH_SCRAPE_START_TIMESTAMPS"
    )]
    pub start_timestamps: bool,

    /// Seconds between two updates of the targets at least.
    #[arg(
        long = "discovery.update-interval",
        env = "PROMESH_DISCOVERY_UPDATE_INTERVAL",
        default_value_t = 5
    )]
    pub discovery_update_interval_seconds: u64,

    /// Discover only those targets of Kubernetes that are on this node, for a
    /// receiver on every node. Pods and nodes of others are not watched; targets
    /// that are on no node (services, ingresses, addresses outside) are left out.
    #[arg(
        long = "discovery.node-local",
        env = "PROMESH_DISCOVERY_NODE_LOCAL",
        value_name = "NODE",
        conflicts_with = "members"
    )]
    pub node_local: Option<String>,

    /// Seconds that a stopping receiver goes on delivering what it has scraped.
    #[arg(
        long = "shutdown.timeout",
        env = "PROMESH_SHUTDOWN_TIMEOUT",
        default_value_t = 60
    )]
    pub shutdown_timeout_seconds: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub shard: ShardArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub heartbeat: HeartbeatArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub exporter: ExporterArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub outbox: OutboxArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: LogArgs,
}
