//! An outbox, its balancer, and connections to an exporter.

use std::collections::BTreeSet;

use mesh_balance::{Balance, BalanceMetrics, ExporterArgs, ExporterTlsArgs};
use mesh_base::shutdown::{self, Trigger};
use mesh_model::flags::ByteSize;
use mesh_net::server::ServeMetrics;
use mesh_wire::compression::Compression;
use prometheus_client::encoding::text::encode;

use super::*;

/// Sender and exporter with connections between them.
pub(super) struct Wire {
    pub(super) backend: Backend,
    pub(super) outbox: Outbox,
    pub(super) workers: Workers,
    connections: Arc<AtomicUsize>,
    sender: Registry,
    exporter: Registry,
    _known: watch::Sender<Option<BTreeSet<String>>>,
    _trigger: Trigger,
    _folder: tempfile::TempDir,
}

// === impl Wire ===

impl Wire {
    /// Starts an exporter with these flags, and a sender.
    pub(super) async fn start(flags: &[String], tls: &ExporterTlsArgs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (backend, to_backend) = Backend::serve();
        let ingest = exporter(to_backend, folder.path()).await;
        let flags = flags.iter().map(String::as_str);
        let args = Args::parse_from(["exporter-svc"].into_iter().chain(flags));
        let (connector, incoming, connections) = Incoming::connected();
        let mut registry = Registry::default();
        let metrics = ServeMetrics::register(&mut registry);
        let server = args.grpc.server(incoming, &metrics).unwrap();
        let (trigger, stop) = shutdown::channel();
        tokio::spawn(async move { exporter_svc::serve(&args, ingest, server, stop).await });

        let exporters = ExporterArgs {
            endpoints: "exporter:1".parse().unwrap(),
            compression: Compression::Zstd,
            ping_interval: Duration::from_millis(800),
            failfast: Duration::from_secs(1),
            max_message_bytes: ByteSize(64 << 20),
            tls: tls.clone(),
        };
        let (known, addresses) = watch::channel(Some(BTreeSet::from(["exporter:1".to_owned()])));
        let connector = exporters.tls.over(connector).unwrap();
        let metrics = BalanceMetrics::default();
        let mut sender = Registry::default();
        metrics.register(&mut sender);
        let balance = Balance::new(&exporters, addresses, connector, metrics);
        let (outbox, workers) =
            Outbox::new(&OutboxArgs::default(), Clock::tokio(START_MS), balance);
        Self {
            backend,
            outbox,
            workers,
            connections,
            sender,
            exporter: registry,
            _known: known,
            _trigger: trigger,
            _folder: folder,
        }
    }

    /// Number of connections so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Exposition of the sender's metrics.
    pub(super) fn sender(&self) -> String {
        shown(&self.sender)
    }

    /// Exposition of the metrics of the exporter's gRPC port.
    pub(super) fn exporter(&self) -> String {
        shown(&self.exporter)
    }
}

/// Value of a sample in an exposition; 0 if absent.
pub(super) fn count(text: &str, sample: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(sample));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}
