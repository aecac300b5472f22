//! An outbox, an exporter and a backend, in memory and with a paused clock.

mod age;
mod hang;
mod tls;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use clap::Parser;
use exporter_svc::{
    Args,
    destination::{MetricFamilies, Options},
    ingest::{Ingest, metrics::Metrics},
};
use mesh_base::clock::Clock;
use mesh_contract::{
    batch::{Batch, BatchContext, Origin},
    export::{self, Export, ExportError},
    report::ExportResponse,
};
use mesh_net::connector::Connector;
use mesh_outbox::{Outbox, OutboxArgs, Workers};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use proto::v1;
use tokio::{
    io::{DuplexStream, duplex},
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tonic::Request;

const START_MS: i64 = 1_700_000_000_000;
const TARGETS: u64 = 4;

/// Timestamp and arrival time of each sample, by series.
type Stored = BTreeMap<String, Vec<(i64, Instant)>>;

/// Behaviour of the backend.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behavior {
    Healthy,
    /// Never responds to requests that arrive meanwhile.
    Hanging,
    /// Stores and responds after this delay.
    Slow(Duration),
}

/// Backend that records samples and their arrival times.
#[derive(Clone)]
struct Backend {
    behavior: watch::Sender<Behavior>,
    stored: Arc<Mutex<Stored>>,
    /// Number of samples that arrived again.
    repeated: Arc<AtomicUsize>,
}

/// Passes the in-memory connections of a connector to a server.
struct Incoming(mpsc::UnboundedReceiver<DuplexStream>);

// === impl Incoming ===

impl Incoming {
    /// Creates a connector, its listener, and the number of connections.
    fn connected() -> (Connector, Self, Arc<AtomicUsize>) {
        let (connections, incoming) = mpsc::unbounded_channel();
        let used = Arc::new(AtomicUsize::new(0));
        let uses = used.clone();
        let connector = Connector::new(move |_| {
            uses.fetch_add(1, Ordering::Relaxed);
            let (ours, theirs) = duplex(64 << 10);
            let sent = connections.send(theirs);
            async move {
                sent.map(|()| ours)
                    .map_err(|_| io::ErrorKind::ConnectionRefused.into())
            }
        });
        (connector, Self(incoming), used)
    }
}

impl axum::serve::Listener for Incoming {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

impl mesh_net::server::Accept for Incoming {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        let stream = self.0.recv().await;
        let stream = stream.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((stream, ([127, 0, 0, 1], 1).into()))
    }
}

// === impl Backend ===

impl Backend {
    /// Starts a backend and returns a connector to it.
    fn serve() -> (Self, Connector) {
        let backend = Self {
            behavior: watch::Sender::new(Behavior::Healthy),
            stored: Arc::default(),
            repeated: Arc::default(),
        };
        let (connector, incoming, _) = Incoming::connected();
        let routes = Router::new()
            .route("/write", post(write))
            .with_state(backend.clone());
        tokio::spawn(async move { axum::serve(incoming, routes).await });
        (backend, connector)
    }

    fn set_behavior(&self, behavior: Behavior) {
        self.behavior.send_replace(behavior);
    }

    fn stored(&self) -> Stored {
        self.stored.lock().clone()
    }

    /// Time from `then` until every series has stored another sample.
    fn recovery_after(&self, then: Instant) -> Duration {
        let stored = self.stored();
        assert_eq!(stored.len(), TARGETS as usize);
        let first = |samples: &Vec<(i64, Instant)>| {
            let after = samples.iter().find(|(_, at)| *at >= then);
            after.expect("the series flows again").1 - then
        };
        stored.values().map(first).max().unwrap_or_default()
    }
}

async fn write(State(backend): State<Backend>, body: Bytes) -> StatusCode {
    let behavior = *backend.behavior.borrow();
    match behavior {
        Behavior::Healthy => {}
        Behavior::Hanging => std::future::pending().await,
        Behavior::Slow(latency) => sleep(latency).await,
    }
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let request = v1::WriteRequest::decode(plain.as_slice()).unwrap();
    let mut stored = backend.stored.lock();
    for series in request.timeseries {
        let samples = stored.entry(series.labels[0].value.clone()).or_default();
        for sample in series.samples {
            let last = samples.last().map_or(0, |(time_ms, _)| *time_ms);
            assert!(sample.timestamp >= last, "out of order");
            if sample.timestamp > last {
                samples.push((sample.timestamp, Instant::now()));
            } else {
                backend.repeated.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    StatusCode::OK
}

/// Starts an exporter that writes through `connector`.
async fn exporter(connector: Connector, folder: &Path) -> Arc<Ingest> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse_from(["exporter-svc"]);
    let mut registry = Registry::default();
    let registered = MetricFamilies::register(&mut registry);
    let options = Options {
        connector: Some(connector),
        allow_http: true,
        ..args.remote_write.options(args.grpc.labels())
    };
    let config = folder.join("prometheus.yml");
    let text = "remote_write:\n- url: http://backend/write\n  remote_timeout: 2m\n  metadata_config: {send: false}\n";
    std::fs::write(&config, text).unwrap();
    let destinations = exporter_svc::start(&config, &options, &registered).await;
    let metrics = Metrics::register(&mut registry);
    Arc::new(Ingest::new(
        destinations.unwrap(),
        args.grpc.limits(),
        metrics,
    ))
}

/// Sends an Export as the balancer does.
async fn send(ingest: Arc<Ingest>, export: Export) -> Result<ExportResponse, ExportError> {
    let left = export.deadline - Instant::now();
    let mut request = Request::new(export.payload.clone());
    export.write(request.metadata_mut());
    let timeout = format!("{}m", left.as_millis()).parse().unwrap();
    request.metadata_mut().insert("grpc-timeout", timeout);
    match ingest.export(request).await {
        Ok(response) => {
            let (metadata, body, _) = response.into_parts();
            Ok(ExportResponse::read(&metadata, body))
        }
        Err(status) => export::failure(status, export.samples),
    }
}

/// Starts a receiver's outbox, an exporter and a backend.
async fn mesh(folder: &Path) -> (Backend, Outbox, Workers) {
    let (backend, connector) = Backend::serve();
    let ingest = exporter(connector, folder).await;
    let exports = tower::service_fn(move |export| send(ingest.clone(), export));
    let (outbox, workers) = Outbox::new(&OutboxArgs::default(), Clock::tokio(START_MS), exports);
    (backend, outbox, workers)
}

/// Batch with one sample of one series.
fn batch(target: u64, time_ms: i64) -> Batch {
    let metric = Metric {
        name: format!("m{target}"),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint {
                time_unix_nano: time_ms as u64 * 1_000_000,
                value: Some(number_data_point::Value::AsDouble(1.0)),
                ..Default::default()
            }],
        })),
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric],
            ..Default::default()
        }],
        ..Default::default()
    };
    Batch {
        key: target,
        payload: Batch::frame(&resource.encode_to_vec()),
        samples: 1,
        time_ms,
        context: Arc::new(BatchContext {
            origin: Origin::Scrape,
            ..BatchContext::default()
        }),
    }
}

/// Pushes a sample of every target each second, for `seconds` seconds from `from` on.
async fn scrape(outbox: &Outbox, start: Instant, from: u64, seconds: u64) {
    for second in from..from + seconds {
        sleep_until(start + Duration::from_secs(second)).await;
        for target in 0..TARGETS {
            let time_ms = START_MS + second as i64 * 1000;
            outbox.push(batch(target, time_ms)).unwrap();
        }
    }
}

async fn assert_delivered(workers: Workers, seconds: u64, backend: &Backend) {
    let account = workers
        .drain(Instant::now() + Duration::from_secs(3600))
        .await;
    assert!(account.balances(), "{account}");
    assert_eq!(account.stored, seconds * TARGETS, "{account}");
    let counts: HashMap<_, _> = backend
        .stored()
        .into_iter()
        .map(|(name, s)| (name, s.len()))
        .collect();
    assert!(
        counts.values().all(|n| *n == seconds as usize),
        "{counts:?}"
    );
}
