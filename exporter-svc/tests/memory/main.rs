//! An outbox, an exporter and a backend that hangs or is slow, in memory and under a
//! paused clock: how soon lanes flow again, and that a slow backend does not starve.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    sync::{Arc, Mutex},
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
use tonic::{Code, Request};

const START_MS: i64 = 1_700_000_000_000;
const LANES: u16 = 4;
const TARGETS: u64 = 4;
/// The law: lanes flow again this soon after a fault.
const SOON: Duration = Duration::from_secs(10);

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
}

/// Hands the in-memory connections of a connector to a server.
struct Incoming(mpsc::UnboundedReceiver<DuplexStream>);

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

// === impl Backend ===

impl Backend {
    /// A backend, and what connects to it.
    fn serve() -> (Self, Connector) {
        let backend = Self {
            mood: watch::Sender::new(Mood::Well),
            stored: Arc::default(),
        };
        let (connections, incoming) = mpsc::unbounded_channel();
        let routes = Router::new()
            .route("/write", post(write))
            .with_state(backend.clone());
        tokio::spawn(async move { axum::serve(Incoming(incoming), routes).await });
        let connector = Connector::new(move |_| {
            let (ours, theirs) = duplex(64 << 10);
            let sent = connections.send(theirs);
            async move {
                sent.map(|()| ours)
                    .map_err(|_| io::ErrorKind::ConnectionRefused.into())
            }
        });
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
            if sample.timestamp > last {
                samples.push((sample.timestamp, Instant::now()));
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

fn args() -> OutboxArgs {
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
    let (outbox, workers) = Outbox::new(&args(), Clock::of_runtime(START_MS), exports);
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

#[tokio::test(start_paused = true)]
async fn lanes_flow_again_soon_after_a_hang_however_long() {
    for hang in [7, 12, 30, 65] {
        let folder = tempfile::tempdir().unwrap();
        let (backend, outbox, workers) = mesh(folder.path()).await;
        let start = Instant::now();
        let end = start + Duration::from_secs(10 + hang);
        let fault = async {
            sleep_until(start + Duration::from_millis(9_995)).await;
            backend.becomes(Mood::Hangs);
            sleep_until(end).await;
            backend.becomes(Mood::Well);
        };
        tokio::join!(scrape(&outbox, start, 0, hang + 40), fault);
        let recovery = backend.all_flow_after(end);
        assert!(recovery <= SOON, "{hang} s: {recovery:?}");
        delivered(workers, hang + 40, &backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_longer_than_a_deadline_does_not_starve() {
    for latency in [10, 25] {
        let folder = tempfile::tempdir().unwrap();
        let (backend, outbox, workers) = mesh(folder.path()).await;
        backend.becomes(Mood::Takes(Duration::from_secs(latency)));
        let start = Instant::now();
        scrape(&outbox, start, 0, 600).await;
        // A request has one sample of a series: with a request a lane at all times
        // there would be this many. What is missing is what lanes took to learn how
        // much time the backend needs.
        let most = (600 / latency) * TARGETS;
        let arrived: usize = backend.stored().values().map(Vec::len).sum();
        assert!(
            arrived as u64 * 2 > most,
            "{latency} s: {arrived} of {most}"
        );
        assert_eq!(backend.stored().len(), TARGETS as usize);
        backend.becomes(Mood::Well);
        delivered(workers, 600, &backend).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_after_slowness_is_over_within_a_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, outbox, workers) = mesh(folder.path()).await;
    let start = Instant::now();
    let end = start + Duration::from_secs(180);
    let fault = async {
        backend.becomes(Mood::Takes(Duration::from_secs(10)));
        sleep_until(start + Duration::from_secs(60)).await;
        backend.becomes(Mood::Well);
        sleep_until(start + Duration::from_secs(90)).await;
        backend.becomes(Mood::Hangs);
        sleep_until(end).await;
        backend.becomes(Mood::Well);
    };
    tokio::join!(scrape(&outbox, start, 0, 220), fault);
    let recovery = backend.all_flow_after(end);
    assert!(recovery <= SOON, "{recovery:?}");
    delivered(workers, 220, &backend).await;
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_is_killed_costs_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, connector) = Backend::serve();
    let ingest = exporter(connector, folder.path()).await;
    let start = Instant::now();
    let killed = start + Duration::from_millis(10_100);
    let exports = tower::service_fn(move |export| {
        let ingest = ingest.clone();
        async move {
            tokio::select! {
                outcome = send(ingest, export) => outcome,
                // Its posts die with it.
                () = sleep_until(killed), if Instant::now() < killed => Err(ExportError::Unknown {
                    code: Code::Unknown,
                    message: "connection reset".to_owned(),
                    progress: export::Progress::default(),
                }),
            }
        }
    });
    backend.becomes(Mood::Takes(Duration::from_millis(500)));
    let (outbox, workers) = Outbox::new(&args(), Clock::of_runtime(START_MS), exports);
    scrape(&outbox, start, 0, 40).await;
    let recovery = backend.all_flow_after(killed + Duration::from_millis(500));
    assert!(recovery <= SOON, "{recovery:?}");
    delivered(workers, 40, &backend).await;
}
