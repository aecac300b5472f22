//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser};
use mesh::{balance::ExporterArgs, outbox::OutboxArgs, telemetry::LogArgs};

use crate::{check::CheckArgs, heartbeat::HeartbeatArgs, shard::ShardArgs};

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

    /// Where /metrics, /targets, /-/healthy, /-/ready and /-/reload are served, and
    /// /-/handover, which receivers of a group ask each other.
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

/// What the process is to do.
#[derive(Clone, Debug)]
pub enum CommandLine {
    /// Without a subcommand: discover, scrape and send.
    Run(Box<Args>),
    /// `check`: look at a configuration file.
    Check(CheckArgs),
}

// === impl CommandLine ===

impl CommandLine {
    /// Reads the process' command line, or ends the process with what is wrong.
    pub fn parse() -> Self {
        Self::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// Where it is wrong, or asks for help.
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
    fn flags_without_a_subcommand_run_the_receiver() {
        let line = [
            "receiver-svc",
            "--config.file=p.yml",
            "--exporter.endpoints=h:1",
        ];
        let Ok(CommandLine::Run(args)) = CommandLine::try_parse_from(line) else {
            panic!("not run")
        };
        assert_eq!(args.config_file, PathBuf::from("p.yml"));
        // Which exporters is not something to be guessed.
        assert!(CommandLine::try_parse_from(["receiver-svc"]).is_err());
    }

    #[test]
    fn a_check_needs_only_its_file() {
        let line = ["receiver-svc", "check", "p.yml", "--targets"];
        let Ok(CommandLine::Check(args)) = CommandLine::try_parse_from(line) else {
            panic!("no check")
        };
        assert!(args.targets && !args.syntax_only);
        assert!(CommandLine::try_parse_from(["receiver-svc", "check"]).is_err());
    }
}
