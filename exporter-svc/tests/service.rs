//! The whole service: start, reload and shutdown.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, extract::State, routing::post};
use clap::Parser;
use exporter_svc::{Addresses, Args, Error, bind};
use mesh_base::shutdown::{self, Trigger};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinHandle,
};

/// Backend that counts requests and can delay its responses.
#[derive(Clone, Default)]
struct Backend(Arc<BackendState>);

#[derive(Default)]
struct BackendState {
    requests: Mutex<usize>,
    delays: Mutex<bool>,
    arrived: Notify,
    release: Notify,
}

/// Running exporter.
struct Exporter {
    addresses: Addresses,
    trigger: Trigger,
    running: JoinHandle<Result<(), Error>>,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

// === impl Backend ===

impl Backend {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/write", post(write))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        format!("http://{address}/write")
    }

    fn requests(&self) -> usize {
        *self.0.requests.lock()
    }
}

async fn write(State(backend): State<Backend>) {
    *backend.0.requests.lock() += 1;
    backend.0.arrived.notify_one();
    let delays = *backend.0.delays.lock();
    if delays {
        backend.0.release.notified().await;
    }
}

// === impl Exporter ===

impl Exporter {
    async fn start(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, remote_write(url)).unwrap();
        let bound = bind(args(&file, "127.0.0.1:0")).await.unwrap();
        let addresses = bound.addresses;
        let (trigger, shutdown) = shutdown::channel();
        let running = tokio::spawn(bound.run(shutdown));
        Self {
            addresses,
            trigger,
            running,
            file,
            _directory: directory,
        }
    }

    /// Sends a request to the admin port and returns the response.
    async fn request(&self, method: &str, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.addresses.web)
            .await
            .unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn remote_write(url: &str) -> String {
    // Metadata is off, so that all requests carry samples.
    format!("remote_write:\n  - url: {url}\n    metadata_config:\n      send: false\n")
}

fn args(file: &std::path::Path, grpc: &str) -> Args {
    let file = format!("--config.file={}", file.display());
    let grpc = format!("--grpc.listen-address={grpc}");
    Args::parse_from([
        "exporter-svc",
        &file,
        &grpc,
        "--web.listen-address=127.0.0.1:0",
    ])
}

async fn export(address: SocketAddr) -> Result<(), tonic::Status> {
    let data_points = vec![NumberDataPoint {
        time_unix_nano: 1,
        ..Default::default()
    }];
    let metric = Metric {
        name: "m".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Default::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![metric],
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    };
    let mut client = MetricsServiceClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    client.export(request).await.map(drop)
}

#[tokio::test]
async fn a_reload_replaces_destinations_and_a_failed_one_does_not() {
    let (one, two) = (Backend::default(), Backend::default());
    let exporter = Exporter::start(&one.serve().await).await;
    export(exporter.addresses.grpc).await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 0));

    std::fs::write(&exporter.file, remote_write(&two.serve().await)).unwrap();
    let answer = exporter.request("POST", "/-/reload").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    export(exporter.addresses.grpc).await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 1));

    for (broken, why) in [
        ("remote_writ: []\n", "remote_writ"),
        ("global: {}\n", "no remote_write"),
        (
            "remote_write:\n  - url: http://example.com/\n",
            "plain http",
        ),
    ] {
        std::fs::write(&exporter.file, broken).unwrap();
        let answer = exporter.request("POST", "/-/reload").await;
        assert!(
            answer.starts_with("HTTP/1.1 500") && answer.contains(why),
            "{answer}"
        );
    }
    export(exporter.addresses.grpc).await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 2));
    let metrics = exporter.request("GET", "/metrics").await;
    assert!(
        metrics.contains("promesh_exporter_samples_received_total{origin=\"otlp\"} 3"),
        "{metrics}"
    );
    exporter.trigger.fire();
    exporter.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_completes_exports_in_flight() {
    let backend = Backend::default();
    *backend.0.delays.lock() = true;
    let exporter = Exporter::start(&backend.serve().await).await;
    assert!(
        exporter
            .request("GET", "/-/ready")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let taken = tokio::spawn(export(exporter.addresses.grpc));
    backend.0.arrived.notified().await;
    exporter.trigger.fire();
    backend.0.release.notify_one();
    taken.await.unwrap().unwrap();
    exporter.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn reports_an_address_in_use() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prometheus.yml");
    std::fs::write(&file, remote_write("http://127.0.0.1:9/")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = bind(args(&file, &address)).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("--grpc.listen-address={address}: ")),
        "{error}"
    );
}

#[tokio::test]
async fn refuses_more_destinations_than_senders_follow() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    let entries = (0..64).map(|i| format!("- {{name: d{i}, url: 'http://127.0.0.1:1/'}}\n"));
    let text = format!("remote_write:\n{}", entries.collect::<String>());
    std::fs::write(&file, text).unwrap();
    let Err(error) = bind(args(&file, "127.0.0.1:0")).await else {
        panic!("64 destinations are accepted");
    };
    let text = error.to_string();
    assert!(
        text.contains("64 remote_write entries, 63 are allowed"),
        "{text}"
    );
}
