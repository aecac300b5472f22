//! `sender`: runs a receiver and an exporter between targets and a backend, so that any
//! remote-write test suite can test promesh as a sender.
//!
//! Both run in this process, with free ports and a temporary folder.

use std::fmt::Write;

use clap::Parser;
use mesh_base::shutdown::Shutdown;
use mesh_service::telemetry::LogArgs;
use tracing::error;

use harness::{
    in_process::{InProcess, Running},
    spec::Role,
    topology::{Config, Mesh, RemoteWrite, Topology},
};

/// Flags of `sender`.
#[derive(Clone, Debug, clap::Args)]
pub struct SenderArgs {
    /// HOST:PORT whose /metrics is scraped every second, with the job `test`. May be
    /// repeated.
    #[arg(long = "scrape-target", required = true)]
    pub scrape_targets: Vec<String>,

    /// URL of remote write. Plain http is permitted.
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

/// A running sender.
#[derive(Debug)]
pub struct Sender {
    /// A receiver and an exporter.
    pub mesh: Mesh<Running>,
}

/// Runs a sender until SIGINT or SIGTERM. A sender that cannot start waits as well, since
/// suites take an exit for a crash.
///
/// # Errors
/// Returns an error if signals cannot be handled, or if a service stops with a failure.
pub async fn run(args: &SenderArgs) -> anyhow::Result<()> {
    args.log.init();
    let shutdown = Shutdown::on_signals()?;
    let started = Sender::start(args).await;
    if let Err(error) = &started {
        error!(error = format!("{error:#}"), "Sender did not start");
    }
    shutdown.signaled().await;
    match started {
        Ok(sender) => sender.stop().await,
        Err(_) => Ok(()),
    }
}

// === impl SenderArgs ===

impl SenderArgs {
    /// Flags of a sender from `targets` to `url`.
    pub fn new(targets: &[String], url: &str, message: &str) -> Self {
        /// Parser of these flags alone.
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

    fn config(&self) -> Config {
        let mut job = String::from("- job_name: test\n  static_configs:\n");
        for target in &self.scrape_targets {
            // Writing to a string cannot fail.
            let _ = writeln!(job, "  - targets: ['{target}']");
        }
        let remote_write = RemoteWrite::new(&self.remote_write_url)
            .setting(&format!("protobuf_message: {}", self.protobuf_message))
            .setting("send_exemplars: true")
            .setting("send_native_histograms: true")
            .setting("metadata_config: {send: true, send_interval: 5s}");
        Config::default()
            .interval("1s")
            .jobs(&job)
            .remote_write(remote_write)
    }
}

// === impl Sender ===

impl Sender {
    /// Starts the exporter and the receiver.
    ///
    /// # Errors
    /// Returns an error if one of them does not start.
    pub async fn start(args: &SenderArgs) -> anyhow::Result<Self> {
        // Test suites observe a sender for a few seconds only.
        let mesh = Topology::new(args.config())
            .exporters(1)
            .receivers(1)
            .flags(
                Role::Exporter,
                ["--remote-write.allow-http", "--shutdown.timeout=2"],
            )
            .flags(
                Role::Receiver,
                ["--outbox.deadline=2", "--shutdown.timeout=2"],
            )
            .start(&InProcess)
            .await?;
        Ok(Self { mesh })
    }

    /// Stops the receiver, which delivers its backlog, then the exporter.
    ///
    /// # Errors
    /// Returns an error if one of them stops with a failure.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.mesh.stop().await
    }
}
