//! Connections that reach their age, under load.

use std::collections::BTreeSet;

use mesh::{
    balance::{Balance, BalanceMetrics, Compression, ExporterArgs},
    serve::ServeMetrics,
    shutdown,
};

use super::*;

/// Serves the exporter with these flags and delivers a minute of scrapes to it over
/// connections; returns how many there were.
async fn deliver(flags: &[&str], latency: Duration) -> (usize, Backend) {
    let folder = tempfile::tempdir().unwrap();
    let (backend, connector) = Backend::serve();
    backend.becomes(Mood::Takes(latency));
    let ingest = exporter(connector, folder.path()).await;
    let args = Args::parse_from(["exporter-svc"].iter().chain(flags));
    let (connections, incoming) = mpsc::unbounded_channel();
    let metrics = ServeMetrics::register(&mut Registry::default());
    let server = args.grpc.server(Incoming(incoming), &metrics).unwrap();
    let (_trigger, stop) = shutdown::channel();
    tokio::spawn(async move { exporter_svc::serve(&args, ingest, server, stop).await });
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let connector = Connector::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = duplex(64 << 10);
        let sent = connections.send(theirs);
        async move {
            sent.map(|()| ours)
                .map_err(|_| io::ErrorKind::ConnectionRefused.into())
        }
    });
    let exporters = ExporterArgs {
        endpoints: "exporter:1".parse().unwrap(),
        compression: Compression::Zstd,
        ping_interval_ms: 800,
        failfast_ms: 1000,
    };
    let (_known, addresses) = watch::channel(Some(BTreeSet::from(["exporter:1".to_owned()])));
    let balance = Balance::new(&exporters, addresses, connector, BalanceMetrics::default());
    let (outbox, workers) = Outbox::new(&super::args(), Clock::of_runtime(START_MS), balance);
    scrape(&outbox, Instant::now(), 0, 60).await;
    delivered(workers, 60, &backend).await;
    (count.load(Ordering::Relaxed), backend)
}

#[tokio::test(start_paused = true)]
async fn a_connection_s_age_loses_nothing_and_repeats_nothing() {
    let flags = ["--grpc.max-connection-age=3"];
    let (connections, backend) = deliver(&flags, Duration::from_millis(700)).await;
    assert!(connections > 10, "{connections}");
    assert_eq!(backend.repeated.load(Ordering::Relaxed), 0);
}

/// What is cut off has to come again, after its deadline.
#[tokio::test(start_paused = true)]
async fn a_grace_that_is_too_short_loses_nothing() {
    let flags = [
        "--grpc.max-connection-age=5",
        "--grpc.max-connection-age-grace=1",
    ];
    let (connections, _) = deliver(&flags, Duration::from_secs(3)).await;
    assert!(connections > 10, "{connections}");
}
