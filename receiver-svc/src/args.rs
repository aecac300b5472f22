//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{CommandFactory, FromArgMatches, Parser};
use mesh_balance::ExporterArgs;
use mesh_model::flags::{self, ByteSize};
use mesh_net::listen::ListenAddress;
use mesh_outbox::OutboxArgs;
use mesh_service::{reload::WatchArgs, telemetry::LogArgs, web::WebArgs};

use crate::{
    check::CheckArgs, heartbeat::HeartbeatArgs, migrate::MigrateArgs, monitors::MonitorArgs,
    scrape::TextLimits, shard::ShardArgs,
};

/// Discovers and scrapes Prometheus targets and sends their samples to exporters.
///
/// Reads a standard Prometheus configuration file. Receivers with the same
/// `global.external_labels` form a group and share its targets
/// (`--shard.members`). A second group with another `__replica__` label makes an
/// HA pair. A receiver buffers samples until an exporter acknowledges or rejects
/// them.
#[derive(Clone, Debug, Parser)]
#[command(name = "receiver-svc", version = mesh_service::VERSION, after_help = flags::NOTATION)]
pub struct Args {
    /// Prometheus configuration file. The receiver uses `global` and
    /// `scrape_configs`.
    #[arg(
        long = "config.file",
        env = "PROMESH_CONFIG_FILE",
        default_value = "prometheus.yml"
    )]
    pub config_file: PathBuf,

    /// Watch of the configuration file.
    #[command(flatten)]
    pub config_watch: WatchArgs,

    /// Address that serves /metrics, /targets, /-/healthy, /-/ready and /-/reload.
    #[arg(
        long = "web.listen-address",
        env = "PROMESH_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub web_listen_address: ListenAddress,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub web: WebArgs,

    /// Memory limit for the response bodies of all running scrapes. A scrape that
    /// needs more fails.
    #[arg(
        long = "scrape.memory-budget",
        env = "PROMESH_SCRAPE_MEMORY_BUDGET",
        value_name = "SIZE",
        default_value = "512MiB"
    )]
    pub memory_budget: ByteSize,

    /// Size at which a decompressed body is rejected, even if its job
    /// allows more.
    #[arg(
        long = "scrape.max-body-bytes",
        env = "PROMESH_SCRAPE_MAX_BODY_BYTES",
        value_name = "SIZE",
        default_value = "256MiB"
    )]
    pub max_body_bytes: ByteSize,

    /// Memory limit for the series of all targets. A scrape whose new series need more
    /// fails.
    #[arg(
        long = "scrape.series-memory-budget",
        env = "PROMESH_SCRAPE_SERIES_MEMORY_BUDGET",
        value_name = "SIZE",
        default_value = "768MiB"
    )]
    pub series_memory_budget: ByteSize,

    /// Memory limit for the series of one target. A scrape whose new series need more
    /// fails.
    #[arg(
        long = "scrape.max-series-bytes",
        env = "PROMESH_SCRAPE_MAX_SERIES_BYTES",
        value_name = "SIZE",
        default_value = "384MiB"
    )]
    pub max_series_bytes: ByteSize,

    /// Maximum length of the name and labels of an exposed sample. A scrape with a longer
    /// one fails, so that each sample fits into a request to an exporter.
    #[arg(
        long = "scrape.max-line-bytes",
        env = "PROMESH_SCRAPE_MAX_LINE_BYTES",
        value_name = "SIZE",
        default_value = "1MiB"
    )]
    pub max_line_bytes: ByteSize,

    /// Maximum length of an exposed metric name or label name. A scrape with a longer one
    /// fails.
    #[arg(
        long = "scrape.max-name-bytes",
        env = "PROMESH_SCRAPE_MAX_NAME_BYTES",
        value_name = "SIZE",
        default_value = "64KiB"
    )]
    pub max_name_bytes: ByteSize,

    /// Maximum length of an exposed label value. A scrape with a longer one fails.
    #[arg(
        long = "scrape.max-value-bytes",
        env = "PROMESH_SCRAPE_MAX_VALUE_BYTES",
        value_name = "SIZE",
        default_value = "1MiB"
    )]
    pub max_value_bytes: ByteSize,

    /// Maximum length of a HELP text or a unit. A scrape with a longer one fails.
    #[arg(
        long = "scrape.max-help-bytes",
        env = "PROMESH_SCRAPE_MAX_HELP_BYTES",
        value_name = "SIZE",
        default_value = "1MiB"
    )]
    pub max_help_bytes: ByteSize,

    /// Request bodies compressed with zstd, and gzip from targets without zstd. Up to
    /// 8 MiB more memory per running scrape. Prometheus's feature flag zstd-scrape.
    #[arg(long = "scrape.zstd", env = "PROMESH_SCRAPE_ZSTD")]
    pub zstd: bool,

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

    /// Time between two updates of the targets while they change all the time. After a
    /// pause, the first update takes effect at once and the next one after 100 ms.
    #[arg(
        long = "discovery.update-interval",
        env = "PROMESH_DISCOVERY_UPDATE_INTERVAL",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "5s"
    )]
    pub discovery_update_interval: Duration,

    /// Maximum size of a target file of `file_sd_configs` and of a response of
    /// `http_sd_configs`. A larger one is not read, and its last targets stay. The
    /// default has room for a million targets.
    #[arg(
        long = "discovery.max-list-bytes",
        env = "PROMESH_DISCOVERY_MAX_LIST_BYTES",
        value_name = "SIZE",
        default_value = "512MiB"
    )]
    pub discovery_max_list_bytes: ByteSize,

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

    /// Time for which a stopping receiver keeps delivering scraped samples.
    #[arg(
        long = "shutdown.timeout",
        env = "PROMESH_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "60s"
    )]
    pub shutdown_timeout: Duration,

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
    pub monitors: MonitorArgs,

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
    Check(Box<CheckArgs>),
    /// `migrate`: translate the configuration of another scraper.
    Migrate(MigrateArgs),
}

// === impl Args ===

impl Args {
    /// Maximum lengths of the texts of a body.
    pub(crate) fn texts(&self) -> TextLimits {
        TextLimits {
            line: self.max_line_bytes.in_memory(),
            name: self.max_name_bytes.in_memory(),
            value: self.max_value_bytes.in_memory(),
            help: self.max_help_bytes.in_memory(),
        }
    }
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
            .subcommand(CheckArgs::command())
            .subcommand(MigrateArgs::command());
        let matches = command.try_get_matches_from(arguments)?;
        match matches.subcommand() {
            Some(("check", matches)) => {
                CheckArgs::from_arg_matches(matches).map(|args| Self::Check(Box::new(args)))
            }
            Some(("migrate", matches)) => MigrateArgs::from_arg_matches(matches).map(Self::Migrate),
            _ => Args::from_arg_matches(&matches).map(|args| Self::Run(Box::new(args))),
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

    fn run(flags: &[&str]) -> Result<Args, String> {
        let line = [&["receiver-svc", "--exporter.endpoints=h:1"], flags].concat();
        match CommandLine::try_parse_from(line) {
            Ok(CommandLine::Run(args)) => Ok(*args),
            Ok(_) => panic!("not run"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn accepts_units_and_bare_numbers() {
        let minute = Duration::from_secs(60);
        let args = run(&[]).unwrap();
        assert_eq!(args.shutdown_timeout, minute);
        assert_eq!(args.outbox.max_age, 55 * minute);
        assert_eq!(args.outbox.max_bytes, ByteSize(512 << 20));
        assert_eq!(args.exporter.failfast, Duration::from_secs(1));
        for flag in ["--outbox.max-age=90", "--outbox.max-age=1m30s"] {
            assert_eq!(run(&[flag]).unwrap().outbox.max_age, minute * 3 / 2);
        }
        for flag in [
            "--outbox.linger=20ms",
            "--outbox.linger=20",
            "--outbox.linger-ms=20",
        ] {
            assert_eq!(
                run(&[flag]).unwrap().outbox.linger.as_millis(),
                20,
                "{flag}"
            );
        }
        for flag in ["--outbox.max-bytes=1.5KiB", "--outbox.max-bytes=1536"] {
            assert_eq!(run(&[flag]).unwrap().outbox.max_bytes, ByteSize(1536));
        }
    }

    #[test]
    fn reports_the_flag_of_an_invalid_value() {
        for (flag, value, expected) in [
            ("--outbox.max-age", "5x", "such as 250ms, 30s or 1h30m"),
            ("--outbox.max-age", "-5", "such as 250ms, 30s or 1h30m"),
            ("--outbox.max-age", "99999999999999999999", "is too long"),
            ("--outbox.linger", "5x", "or a number of milliseconds"),
            ("--outbox.max-bytes", "5x", "such as 512MiB or 1.5GiB"),
            ("--outbox.max-bytes", "16EiB", "is not a size"),
            (
                "--web.listen-address",
                "8080",
                "such as :8080 or localhost:8080",
            ),
            (
                "--log.level",
                "info,h2=debug",
                "off, error, warn, info, debug, trace",
            ),
        ] {
            let error = run(&[&format!("{flag}={value}")]).unwrap_err();
            for part in [flag, value, expected] {
                assert!(error.contains(part), "{flag}={value}: {error}");
            }
        }
    }

    #[test]
    fn help_shows_defaults_with_units_and_no_old_names() {
        let help = Args::command().render_long_help().to_string();
        for part in [
            "[default: 55m]",
            "[default: 512MiB]",
            "--outbox.linger <DURATION>",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(!help.contains("-ms"), "{help}");
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
