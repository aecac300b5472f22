//! A receiver, an exporter and a gateway in one process.
//!
//! The services talk over loopback as they do in a cluster, so that nothing behaves otherwise
//! than there. The exporter stops last: the others deliver their backlogs to it first.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use mesh_base::shutdown::{self, Shutdown};
use mesh_service::telemetry::LogArgs;

/// Flags of all services in one process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AllArgs {
    /// Prometheus configuration file of the receiver and the exporter.
    #[arg(
        long = "config.file",
        env = "PROMESH_CONFIG_FILE",
        default_value = "prometheus.yml"
    )]
    config_file: PathBuf,

    /// Address of the receiver's pages and metrics.
    #[arg(
        long = "receiver.listen-address",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    receiver: String,

    /// Address of the exporter's pages and metrics.
    #[arg(
        long = "exporter.listen-address",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8081"
    )]
    exporter: String,

    /// Address of the gateway's metrics.
    #[arg(
        long = "gateway.listen-address",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8082"
    )]
    gateway: String,

    /// Address that receives OTLP over HTTP.
    #[arg(
        long = "otlp.http.listen-address",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4318"
    )]
    otlp_http: String,

    /// Address that receives OTLP over gRPC.
    #[arg(
        long = "otlp.grpc.listen-address",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:4317"
    )]
    otlp_grpc: String,

    /// Folder for scraped samples that the backend does not accept yet. Without it they are in
    /// memory only.
    #[arg(long = "outbox.spill-dir", value_name = "DIR")]
    spill_dir: Option<PathBuf>,

    /// Allow plain http to hosts other than localhost.
    #[arg(
        long = "remote-write.allow-http",
        env = "PROMESH_REMOTE_WRITE_ALLOW_HTTP"
    )]
    allow_http: bool,

    /// Logging.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Runs all services until `shutdown`, or until one of them fails.
///
/// # Errors
/// Returns an error if a service does not start or fails.
pub(crate) async fn run(args: &AllArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let exporter = exporter_svc::bind(args.exporter()?).await;
    let exporter = exporter.context("exporter")?;
    let own = exporter.addresses;
    let endpoint = own.grpc.to_string();
    let receiver = receiver_svc::bind(args.receiver(&endpoint)?).await;
    let receiver = receiver.context("receiver")?;
    let gateway = gateway::bind(args.gateway(&endpoint)?).await;
    let gateway = gateway.context("gateway")?;
    println!("targets: http://{}/targets", receiver.addresses.web);
    println!("destinations: http://{}/destinations", own.web);
    println!(
        "OTLP over HTTP: http://{}/v1/metrics",
        gateway.addresses.http
    );
    println!("OTLP over gRPC: {}", gateway.addresses.grpc);

    let (stop_exporter, exporter_shutdown) = shutdown::channel();
    let exporter = tokio::spawn(exporter.run(exporter_shutdown));
    let senders = async {
        let receiver = async { receiver.run(shutdown.clone()).await.context("receiver") };
        let gateway = async { gateway.run(shutdown.clone()).await.context("gateway") };
        tokio::try_join!(receiver, gateway)
    };
    let sent = senders.await;
    stop_exporter.fire();
    exporter.await?.context("exporter")?;
    sent.map(|_| ())
}

// === impl AllArgs ===

impl AllArgs {
    fn exporter(&self) -> anyhow::Result<exporter_svc::Args> {
        let mut flags = vec![
            flag("--config.file", self.config_file.as_os_str()),
            flag("--web.listen-address", &self.exporter),
            flag("--grpc.listen-address", "127.0.0.1:0"),
        ];
        if self.allow_http {
            flags.push("--remote-write.allow-http".into());
        }
        parse("exporter", flags)
    }

    fn receiver(&self, endpoint: &str) -> anyhow::Result<receiver_svc::Args> {
        let mut flags = vec![
            flag("--config.file", self.config_file.as_os_str()),
            flag("--web.listen-address", &self.receiver),
            flag("--exporter.endpoints", endpoint),
        ];
        let spill_dir = self.spill_dir.iter();
        flags.extend(spill_dir.map(|folder| flag("--outbox.spill-dir", folder.as_os_str())));
        parse("receiver", flags)
    }

    fn gateway(&self, endpoint: &str) -> anyhow::Result<gateway::Args> {
        let flags = vec![
            flag("--web.listen-address", &self.gateway),
            flag("--otlp.http.listen-address", &self.otlp_http),
            flag("--otlp.grpc.listen-address", &self.otlp_grpc),
            flag("--exporter.endpoints", endpoint),
        ];
        parse("gateway", flags)
    }
}

fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut flag = OsString::from(name);
    flag.push("=");
    flag.push(value);
    flag
}

/// Parses the flags of a service, whose other flags have their defaults or come from the
/// environment.
fn parse<T: Parser>(service: &str, flags: Vec<OsString>) -> anyhow::Result<T> {
    let name = OsString::from(service);
    T::try_parse_from(std::iter::once(name).chain(flags)).context(service.to_owned())
}
