//! A receiver and an exporter between one target and one backend, so that any
//! remote-write sender test suite can drive promesh.
//!
//! Both run in this process, on ports and in a folder of their own.

use std::{fmt::Write, path::Path};

use clap::Parser;
use mesh_base::shutdown::Shutdown;
use mesh_service::telemetry::LogArgs;
use tempfile::TempDir;
use tracing::error;

use harness::in_process::{self, Running};

/// What a sender is told.
#[derive(Clone, Debug, clap::Args)]
pub struct SenderArgs {
    /// HOST:PORT whose /metrics is scraped every second, under the job `test`.
    /// May be given several times.
    #[arg(long = "scrape-target", required = true)]
    pub scrape_targets: Vec<String>,

    /// Where remote write is posted; plain http is fine.
    #[arg(long = "remote-write-url")]
    pub remote_write_url: String,

    /// prometheus.WriteRequest or io.prometheus.write.v2.Request.
    #[arg(long = "protobuf-message", default_value = "prometheus.WriteRequest")]
    pub protobuf_message: String,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: LogArgs,
}

/// A receiver and an exporter at work.
#[derive(Debug)]
pub struct Sender {
    /// Scrapes.
    pub receiver: Running<receiver_svc::Addresses>,
    /// Writes.
    pub exporter: Running<exporter_svc::Addresses>,
    _folder: TempDir,
}

/// Runs a sender until SIGINT or SIGTERM. One that cannot write to its URL has
/// nothing to do and waits as well: suites take an end for a crash.
///
/// # Errors
/// Where signals cannot be waited for, or what was scraped cannot be told to stop.
pub async fn run(args: &SenderArgs) -> anyhow::Result<()> {
    args.log.init()?;
    let shutdown = Shutdown::on_signals()?;
    let started = Sender::start(args).await;
    if let Err(error) = &started {
        error!(error = format!("{error:#}"), "Nothing to do");
    }
    shutdown.signaled().await;
    match started {
        Ok(sender) => sender.stop().await,
        Err(_) => Ok(()),
    }
}

// === impl SenderArgs ===

impl SenderArgs {
    /// Those of a sender from `targets` to `url`.
    pub fn new(targets: &[String], url: &str, message: &str) -> Self {
        /// The arguments alone.
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            args: SenderArgs,
        }
        let targets = targets
            .iter()
            .map(|target| format!("--scrape-target={target}"));
        let others = [
            format!("--remote-write-url={url}"),
            format!("--protobuf-message={message}"),
        ];
        let all = std::iter::once("sender".to_owned())
            .chain(targets)
            .chain(others);
        Only::parse_from(all).args
    }

    fn config(&self) -> Result<String, std::fmt::Error> {
        let mut config = String::from(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n\
             - job_name: test\n  static_configs:\n",
        );
        for target in &self.scrape_targets {
            writeln!(config, "  - targets: ['{target}']")?;
        }
        writeln!(
            config,
            "remote_write:\n- url: '{}'\n  protobuf_message: {}\n  send_exemplars: true\n  \
             send_native_histograms: true\n  metadata_config: {{send: true, send_interval: 5s}}",
            self.remote_write_url, self.protobuf_message,
        )?;
        Ok(config)
    }
}

// === impl Sender ===

impl Sender {
    /// Starts both.
    ///
    /// # Errors
    /// Where one of them does not start.
    pub async fn start(args: &SenderArgs) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, args.config()?)?;
        let flags = |ports: &[&str], more: &[&str]| -> Vec<String> {
            let own = in_process::own_ports(ports);
            let file = format!("--config.file={}", Path::display(&file));
            own.into_iter()
                .chain([file])
                .chain(more.iter().copied().map(str::to_owned))
                .collect()
        };
        let allow = ["--remote-write.allow-http", "--shutdown.timeout=2"];
        let exporter = in_process::exporter(&flags(&["grpc", "web"], &allow)).await?;
        let endpoints = format!("--exporter.endpoints={}", exporter.addresses.grpc);
        // Suites look on for a few seconds only.
        let soon = [&endpoints, "--outbox.deadline=2", "--shutdown.timeout=2"];
        let receiver = in_process::receiver(&flags(&["web"], &soon)).await?;
        Ok(Self {
            receiver,
            exporter,
            _folder: folder,
        })
    }

    /// Stops both, the receiver first, which delivers what it still has.
    ///
    /// # Errors
    /// Where one of them ended with a failure.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.receiver.stop().await?;
        self.exporter.stop().await
    }
}
