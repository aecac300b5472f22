//! An outbox, an exporter and a backend, in memory and under a paused clock.

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
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use clap::Parser;
use exporter_svc::{
    Args,
    ingest::{Ingest, metrics::Metrics},
    remote_write::destination::{Options, Registered},
};
use mesh::{
    balance::Connector,
    batch::{Batch, Facts, Origin},
    clock::Clock,
    export::{self, Export, ExportError},
    outbox::{Outbox, OutboxArgs, Workers},
    verdict::Verdict,
};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
};
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
const LANES: u16 = 4;
const TARGETS: u64 = 4;

/// Time stamp and arrival of each sample, by series.
type Stored = BTreeMap<String, Vec<(i64, Instant)>>;

/// How the backend answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    /// Whatever comes meanwhile is never answered.
    Hangs,
    /// Stores and answers this much later.
    Takes(Duration),
}

/// A backend that stores samples, and notes when each came.
#[derive(Clone)]
struct Backend {
    mood: watch::Sender<Mood>,
    stored: Arc<Mutex<Stored>>,
    /// How many samples came again.
    repeated: Arc<AtomicUsize>,
}

/// Hands the in-memory connections of a connector to a server.
struct Incoming(mpsc::UnboundedReceiver<DuplexStream>);

// === impl Incoming ===

impl Incoming {
    /// A connector, what it leads to, and how often it has been used.
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

impl mesh::serve::Accept for Incoming {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        let stream = self.0.recv().await;
        let stream = stream.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((stream, ([127, 0, 0, 1], 1).into()))
    }
}

// === impl Backend ===

impl Backend {
    /// A backend, and what connects to it.
    fn serve() -> (Self, Connector) {
        let backend = Self {
            mood: watch::Sender::new(Mood::Well),
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

    fn becomes(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    fn stored(&self) -> Stored {
        self.stored.lock().unwrap().clone()
    }

    /// How long after `then` the last of all series was stored again.
    fn all_flow_after(&self, then: Instant) -> Duration {
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
    let mood = *backend.mood.borrow();
    match mood {
        Mood::Well => {}
        Mood::Hangs => std::future::pending().await,
        Mood::Takes(latency) => sleep(latency).await,
    }
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let request = v1::WriteRequest::decode(plain.as_slice()).unwrap();
    let mut stored = backend.stored.lock().unwrap();
    for series in request.timeseries {
        let samples = stored.entry(series.labels[0].value.clone()).or_default();
        for sample in series.samples {
            let last = samples.last().map_or(0, |(time_ms, _)| *time_ms);
            assert!(sample.timestamp >= last, "out of order");
            match sample.timestamp > last {
                true => samples.push((sample.timestamp, Instant::now())),
                false => drop(backend.repeated.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
    StatusCode::OK
}

/// An exporter that writes through `connector`.
async fn exporter(connector: Connector, folder: &Path) -> Arc<Ingest> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse_from(["exporter-svc"]);
    let mut registry = Registry::default();
    let registered = Registered::register(&mut registry);
    let options = Options {
        connector: Some(connector),
        allow_http: true,
        ..args.remote_write.options()
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

/// Sends an Export as the balancer would.
async fn send(ingest: Arc<Ingest>, export: Export) -> Result<Verdict, ExportError> {
    let left = export.deadline - Instant::now();
    let mut request = Request::new(export.payload);
    export.facts.write(request.metadata_mut());
    export.progress.write(request.metadata_mut());
    let timeout = format!("{}m", left.as_millis()).parse().unwrap();
    request.metadata_mut().insert("grpc-timeout", timeout);
    match ingest.export(request).await {
        Ok(response) => {
            let (metadata, body, _) = response.into_parts();
            Ok(export::verdict(&metadata, body))
        }
        Err(status) => export::failure(status, export.samples),
    }
}

fn args_of_outbox() -> OutboxArgs {
    OutboxArgs {
        lanes: LANES,
        ..OutboxArgs::default()
    }
}

/// A receiver's outbox before one exporter and its backend.
async fn mesh(folder: &Path) -> (Backend, Outbox, Workers) {
    let (backend, connector) = Backend::serve();
    let ingest = exporter(connector, folder).await;
    let exports = tower::service_fn(move |export| send(ingest.clone(), export));
    let (outbox, workers) = Outbox::new(&args_of_outbox(), Clock::of_runtime(START_MS), exports);
    (backend, outbox, workers)
}

/// One sample of one series.
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
        facts: Arc::new(Facts {
            origin: Origin::Scrape,
            ..Facts::default()
        }),
    }
}

/// A sample of every target each second, from `from` on for so many seconds.
async fn scrape(outbox: &Outbox, start: Instant, from: u64, seconds: u64) {
    for second in from..from + seconds {
        sleep_until(start + Duration::from_secs(second)).await;
        for target in 0..TARGETS {
            let time_ms = START_MS + second as i64 * 1000;
            outbox.push(batch(target, time_ms)).unwrap();
        }
    }
}

async fn delivered(workers: Workers, seconds: u64, backend: &Backend) {
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
