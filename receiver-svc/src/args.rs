//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser};
use mesh_balance::ExporterArgs;
use mesh_outbox::OutboxArgs;
use mesh_service::telemetry::LogArgs;

use crate::{check::CheckArgs, heartbeat::HeartbeatArgs, shard::ShardArgs};

/// Discovers and scrapes Prometheus targets and sends their samples to exporters.
///
/// Reads a standard Prometheus configuration file. Receivers with the same
/// `global.external_labels` form a group and share its targets
/// (`--shard.members`). A second group with another `__replica__` label makes an
/// HA pair. A receiver buffers samples until an exporter acknowledges or rejects
/// them.
#[derive(Clone, Debug, Parser)]
#[command(name = "receiver-svc", version = mesh_service::VERSION)]
pub struct Args {
    /// Prometheus configuration file. The receiver uses `global` and
    /// `scrape_configs`.
    #[arg(
        long = "config.file",
        env = "PROMESH_CONFIG_FILE",
        default_value = "prometheus.yml"
    )]
    pub config_file: PathBuf,

    /// Address that serves /metrics, /targets, /-/healthy, /-/ready and /-/reload.
    /// Receivers of the same group also call /-/handover there.
    #[arg(
        long = "web.listen-address",
        env = "PROMESH_WEB_LISTEN_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub web_listen_address: SocketAddr,

    /// Bytes of response bodies that all running scrapes may hold in memory. A
    /// scrape that needs more fails.
    #[arg(
        long = "scrape.memory-budget",
        env = "PROMESH_SCRAPE_MEMORY_BUDGET",
        default_value_t = 512 << 20
    )]
    pub memory_budget: usize,

    /// Size in bytes at which a decompressed body is rejected, even if its job
    /// allows more.
    #[arg(
        long = "scrape.max-body-bytes",
        env = "PROMESH_SCRAPE_MAX_BODY_BYTES",
        default_value_t = 256 << 20
    )]
    pub max_body_bytes: u64,

    /// Maximum number of concurrent scrapes. A further scrape waits until one ends.
    #[arg(
        long = "scrape.max-concurrent",
        env = "PROMESH_SCRAPE_MAX_CONCURRENT",
        default_value_t = 1000
    )]
    pub max_concurrent_scrapes: usize,

    /// Use `_created` samples as start timestamps instead of storing them as
    /// series.
    #[arg(
        long = "scrape.start-timestamps",
        env = "PROMESH_SCRAPE_START_TIMESTAMPS"
    )]
    pub start_timestamps: bool,

    /// Minimum number of seconds between two updates of the targets.
    #[arg(
        long = "discovery.update-interval",
        env = "PROMESH_DISCOVERY_UPDATE_INTERVAL",
        default_value_t = 5
    )]
    pub discovery_update_interval_seconds: u64,

    /// Discover only the Kubernetes targets on this node, for a receiver that runs
    /// on every node. Other nodes and their pods are not watched. Targets without
    /// a node (services, ingresses, external addresses) are skipped.
    #[arg(
        long = "discovery.node-local",
        env = "PROMESH_DISCOVERY_NODE_LOCAL",
        value_name = "NODE",
        conflicts_with = "members"
    )]
    pub node_local: Option<String>,

    /// Seconds for which a stopping receiver keeps delivering scraped samples.
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

/// Parsed command line: the mode that the process runs in.
#[derive(Clone, Debug)]
pub enum CommandLine {
    /// No subcommand: discover, scrape and send.
    Run(Box<Args>),
    /// `check`: validate a configuration file.
    Check(CheckArgs),
}

// === impl CommandLine ===

impl CommandLine {
    /// Parses the command line of the process, or prints the usage error and exits.
    pub fn parse() -> Self {
        Self::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Parses a command line.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid or asks for help or the version.
    pub fn try_parse_from<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator,
        I::Item: Into<OsString> + Clone,
    {
        let command = Args::command()
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
            .subcommand(CheckArgs::command());
        let matches = command.try_get_matches_from(arguments)?;
        match matches.subcommand_matches("check") {
            Some(matches) => CheckArgs::from_arg_matches(matches).map(Self::Check),
            None => Args::from_arg_matches(&matches).map(|args| Self::Run(Box::new(args))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_the_receiver_without_a_subcommand() {
        let line = [
            "receiver-svc",
            "--config.file=p.yml",
            "--exporter.endpoints=h:1",
        ];
        let Ok(CommandLine::Run(args)) = CommandLine::try_parse_from(line) else {
            panic!("not run")
        };
        assert_eq!(args.config_file, PathBuf::from("p.yml"));
        // The exporters have no default.
        assert!(CommandLine::try_parse_from(["receiver-svc"]).is_err());
    }

    #[test]
    fn check_requires_only_a_file() {
        let line = ["receiver-svc", "check", "p.yml", "--targets"];
        let Ok(CommandLine::Check(args)) = CommandLine::try_parse_from(line) else {
            panic!("no check")
        };
        assert!(args.targets && !args.syntax_only);
        assert!(CommandLine::try_parse_from(["receiver-svc", "check"]).is_err());
    }
}
