mod network;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mesh_model::flags::ByteSize;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    metrics::v1::ResourceMetrics,
};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use tonic::{
    Request, Response, Status,
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};
use tower::ServiceExt;

use super::*;
use mesh_contract::{
    batch::{BatchContext, Origin},
    export::Export,
    report::{BatchSizes, ExportResponse},
};
use mesh_wire::compression::Compression;

/// A stock OTLP server that counts its requests.
#[derive(Clone, Default)]
struct Stock {
    requests: Arc<AtomicUsize>,
    resources: Arc<AtomicUsize>,
    fail: bool,
    /// Length of the progress in the metadata of failures.
    progress_bytes: usize,
}

/// A server with its own runtime, so that a test can kill it and its connections.
struct Running(Option<tokio::runtime::Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

#[tonic::async_trait]
impl MetricsService for Stock {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        assert_eq!(request.metadata().get("promesh-origin").unwrap(), "scrape");
        assert!(request.metadata().contains_key("grpc-timeout"));
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.fail {
            let mut status = Status::unknown("broken");
            if self.progress_bytes > 0 {
                let progress = "f".repeat(self.progress_bytes).parse().unwrap();
                status.metadata_mut().insert("promesh-progress", progress);
            }
            return Err(status);
        }
        let resources = request.get_ref().resource_metrics.len();
        self.resources.fetch_add(resources, Ordering::SeqCst);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Stock {
    async fn serve(&self) -> (String, Running) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service =
            MetricsServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Zstd);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let server = Server::builder().add_service(service);
            server
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
                .unwrap();
        });
        (address, Running(Some(runtime)))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn args() -> ExporterArgs {
    ExporterArgs {
        endpoints: "unused:1".parse().unwrap(),
        compression: Compression::Zstd,
        ping_interval: Duration::from_millis(800),
        failfast: Duration::from_secs(5),
        max_message_bytes: ByteSize(64 << 20),
        tls: Default::default(),
    }
}

type AddressSender = watch::Sender<Option<BTreeSet<String>>>;

fn balance(addresses: &[&String]) -> (Balance, AddressSender) {
    let addresses: BTreeSet<_> = addresses.iter().map(|a| (*a).clone()).collect();
    let (sender, receiver) = watch::channel(Some(addresses));
    let balance = Balance::new(
        &args(),
        receiver,
        mesh_net::connector::plaintext(),
        BalanceMetrics::default(),
    );
    (balance, sender)
}

async fn until_connected(balance: &Balance, endpoints: usize) {
    while balance.shared.pool.connected().len() < endpoints {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn export() -> Export {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics::default(); 2],
    };
    Export {
        context: Arc::new(BatchContext {
            origin: Origin::Scrape,
            ..Default::default()
        }),
        payload: Bytes::from(request.encode_to_vec()),
        batches: BatchSizes::default(),
        destination: None,
        samples: 2,
        deadline: Instant::now() + Duration::from_secs(10),
        progress: Vec::new(),
    }
}

#[tokio::test]
async fn sends_to_a_stock_server() {
    let stock = Stock::default();
    let (address, _server) = stock.serve().await;
    let (balance, _addresses) = balance(&[&address]);
    let response = balance.oneshot(export()).await.unwrap();
    assert_eq!(response, ExportResponse::default());
    assert_eq!(stock.resources.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn spreads_requests() {
    let (one, other) = (Stock::default(), Stock::default());
    let (a, _server_a) = one.serve().await;
    let (b, _server_b) = other.serve().await;
    let (balance, _addresses) = balance(&[&a, &b]);
    until_connected(&balance, 2).await;
    let requests = (0..200).map(|_| balance.clone().oneshot(export()));
    futures::future::try_join_all(requests).await.unwrap();
    assert!(one.requests() > 20 && other.requests() > 20);
    assert_eq!(one.requests() + other.requests(), 200);
}

#[tokio::test]
async fn does_not_pick_a_dead_exporter() {
    let (one, other) = (Stock::default(), Stock::default());
    let (a, server) = one.serve().await;
    let (b, _server) = other.serve().await;
    let (balance, _addresses) = balance(&[&a, &b]);
    balance.clone().oneshot(export()).await.unwrap();
    drop(server);
    while balance.shared.pool.connected().contains(&a) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..50 {
        balance.clone().oneshot(export()).await.unwrap();
    }
}

#[tokio::test]
async fn an_added_exporter_gets_requests_and_a_removed_one_none() {
    let (one, other) = (Stock::default(), Stock::default());
    let (a, _server_a) = one.serve().await;
    let (b, _server_b) = other.serve().await;
    let (balance, addresses) = balance(&[&a]);
    balance.clone().oneshot(export()).await.unwrap();
    addresses.send_replace(Some(BTreeSet::from([b])));
    while other.requests() == 0 {
        balance.clone().oneshot(export()).await.unwrap();
    }
    let before = one.requests();
    for _ in 0..20 {
        balance.clone().oneshot(export()).await.unwrap();
    }
    assert_eq!(one.requests(), before);
}

#[tokio::test(start_paused = true)]
async fn fails_unsent_without_a_connected_exporter() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap().to_string();
    drop(unused);
    let (balance, _addresses) = balance(&[&address]);
    let error = balance.oneshot(export()).await.unwrap_err();
    assert!(matches!(error, ExportError::Unsent(_)));
    assert_eq!(
        error.to_string(),
        format!("not sent: exporter {address} is not reachable")
    );
}

#[tokio::test]
async fn ejects_a_failing_exporter() {
    let (failing, healthy) = (
        Stock {
            fail: true,
            ..Default::default()
        },
        Stock::default(),
    );
    let (a, _server_a) = failing.serve().await;
    let (b, _server_b) = healthy.serve().await;
    let (balance, _addresses) = balance(&[&a, &b]);
    until_connected(&balance, 2).await;
    for _ in 0..200 {
        let _ = balance.clone().oneshot(export()).await;
    }
    assert!(failing.requests() < 10, "{} of 200", failing.requests());
}

/// The peer accepts connections and sends nothing.
#[tokio::test]
async fn reads_the_progress_of_many_batches() {
    let stock = Stock {
        fail: true,
        progress_bytes: 20 << 10,
        ..Stock::default()
    };
    let (address, _running) = stock.serve().await;
    let (balance, _addresses) = balance(&[&address]);
    until_connected(&balance, 1).await;
    let error = balance.oneshot(export()).await.unwrap_err();
    let progress = error.report().progress;
    assert_eq!(progress[0].as_str().len(), 20 << 10, "{error}");
}

#[tokio::test(start_paused = true)]
async fn does_not_send_to_a_silent_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            streams.push(stream);
        }
    });
    let (balance, _addresses) = balance(&[&address]);
    for _ in 0..3 {
        let error = balance.clone().oneshot(export()).await.unwrap_err();
        assert!(matches!(error, ExportError::Unsent(_)), "{error}");
        assert!(!balance.is_connected());
    }
    silent.abort();
}

/// The network starts to drop all bytes while the exporter is connected.
#[tokio::test]
async fn does_not_send_to_a_black_holed_exporter() {
    let stock = Stock::default();
    let (behind, _server) = stock.serve().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let black_hole = Arc::new(tokio::sync::Notify::new());
    let network = tokio::spawn({
        let black_hole = black_hole.clone();
        async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(behind).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                () = black_hole.notified() => {}
            }
            // The kernel accepts new connections, which nobody reads.
            std::future::pending::<()>().await;
        }
    });
    let (balance, _addresses) = balance(&[&address]);
    balance.clone().oneshot(export()).await.unwrap();
    black_hole.notify_one();
    while balance.is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = balance.clone().oneshot(export()).await.unwrap_err();
    assert!(matches!(error, ExportError::Unsent(_)), "{error}");
    network.abort();
}
