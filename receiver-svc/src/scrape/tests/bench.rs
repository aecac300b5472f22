//! Test bench: one job with fake targets, and the samples that the exporter receives.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use mesh_base::{budget::Budget, clock::Clock};
use mesh_contract::{
    batch::{Batch, BatchContext},
    export::{Export, ExportError},
    report::ExportResponse,
};
use mesh_model::{
    config::{Config, discovery::TargetGroup, scrape::ScrapeConfig},
    flags::ByteSize,
    labels::Labels,
};
use mesh_net::connector::Connector;
use mesh_outbox::{Outbox, OutboxArgs, Workers};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, metric::Data, number_data_point::Value},
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout_at},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    discovery::Jobs,
    handover::{self, Handover, HandoverMetrics},
    scrape::{
        Endings, LastScrape, Manager, Prepared, ScrapeError, ScrapeMetrics, Shared, TextLimits,
        client::{Fetch, FetchedBody, TargetAddress},
        job::Job,
    },
    shard::Shard,
};

const START_MS: i64 = 1_795_427_440_000;

/// Response of the fake targets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Body(&'static str),
    Never,
}

/// Fake targets, which all respond alike.
#[derive(Debug)]
struct Targets {
    reply: Mutex<Reply>,
    /// URL of a target that does not respond.
    silent: Mutex<&'static str>,
    requests: Mutex<usize>,
}

/// Exported sample: name, timestamp in milliseconds, and value; `None` for a marker.
type Exported = (String, i64, Option<f64>);

pub(super) struct Bench {
    pub(super) manager: Manager,
    pub(super) outbox: Outbox,
    shared: Shared,
    /// Offset of the clock from the paused time, in milliseconds.
    skew_ms: Arc<AtomicI64>,
    targets: Arc<Targets>,
    exported: Arc<Mutex<Vec<Exported>>>,
    exports: Arc<Semaphore>,
    config: ScrapeConfig,
    _workers: Workers,
}

impl Fetch for Targets {
    fn fetch<'a>(
        &'a self,
        address: TargetAddress<'a>,
        timeout: Duration,
        expected: usize,
        budget: &'a Budget,
    ) -> BoxFuture<'a, Result<FetchedBody, ScrapeError>> {
        *self.requests.lock() += 1;
        let reply = match address.url == *self.silent.lock() {
            true => Reply::Never,
            false => *self.reply.lock(),
        };
        async move {
            let reservation = budget.reserve(expected).await;
            let fetch = async {
                match reply {
                    Reply::Body(body) => FetchedBody::new("text/plain", body, reservation),
                    Reply::Never => std::future::pending().await,
                }
            };
            let fetched = timeout_at(Instant::now() + timeout, fetch).await;
            fetched.map_err(|_| ScrapeError::Timeout(timeout))
        }
        .boxed()
    }
}

impl Bench {
    /// Starts a manager that scrapes the target `t:1` every 10 s; the target exposes `body`.
    pub(super) async fn scraping(body: &'static str) -> Self {
        let (right, skew_ms) = (Clock::tokio(START_MS), Arc::new(AtomicI64::new(0)));
        let skew = skew_ms.clone();
        let clock = Clock::new(move || right.now_ms() + skew.load(Ordering::Relaxed));
        let (exported, exports) = (Arc::default(), Arc::new(Semaphore::new(1)));
        let service = {
            let (exported, exports) = (Arc::clone(&exported), Arc::clone(&exports));
            tower::service_fn(move |export| {
                accept(export, Arc::clone(&exported), Arc::clone(&exports)).boxed()
            })
        };
        let args = OutboxArgs {
            max_bytes: ByteSize(1 << 20),
            ..OutboxArgs::default()
        };
        let (outbox, workers) = Outbox::sharing_keys(&args, clock.clone(), service);
        let options = handover::Options {
            name: "me:1".to_owned(),
            // As with a fixed member list.
            members_are_ready: false,
            unready: watch::channel(None).1,
            // Nothing is held back for longer after the start.
            timeout: Duration::from_secs(2),
            away_timeout: Duration::from_secs(60),
            connector: Connector::new(|_| async {
                Err::<tokio::io::DuplexStream, _>(io::ErrorKind::ConnectionRefused.into())
            }),
            access: handover::Access::default(),
        };
        let metrics = HandoverMetrics::default();
        let (handover, poller) = Handover::new(options, clock.clone(), outbox.clone(), metrics);
        tokio::spawn(poller.run());
        let shared = Shared {
            clock,
            outbox: outbox.clone(),
            ownership: Arc::new(handover),
            endings: Endings::default(),
            unauthorized: Arc::default(),
            budget: Budget::new(1 << 20),
            series_budget: Budget::new(4 << 20),
            max_series_bytes: 2 << 20,
            texts: TextLimits::default(),
            concurrency: Arc::new(Semaphore::new(100)),
            metrics: ScrapeMetrics::register(&mut Registry::default()),
            max_body_bytes: 1 << 20,
            zstd: false,
            start_timestamps: false,
            connector: None,
        };
        let mut bench = Self {
            manager: Manager::new(shared.clone()),
            outbox,
            shared,
            skew_ms,
            targets: Arc::new(Targets {
                reply: Mutex::new(Reply::Body(body)),
                silent: Mutex::default(),
                requests: Mutex::default(),
            }),
            exported,
            exports,
            config: parse(""),
            _workers: workers,
        };
        bench.manager.update_shard(Shard::alone());
        bench.configure("");
        bench.discover(&["t:1"]);
        bench
    }

    /// Reloads the job with additional configuration keys.
    pub(super) fn configure(&mut self, keys: &str) {
        self.config = parse(keys);
        let context = Arc::new(BatchContext::default());
        let job = Job::new(self.config.clone(), context, &self.shared, None);
        let mut job = job.unwrap();
        job.fetcher = self.targets.clone();
        self.manager.apply(Prepared(vec![Arc::new(job)]));
        self.manager.sync();
    }

    pub(super) fn remove_jobs(&mut self) {
        self.manager.apply(Prepared(Vec::new()));
        self.manager.sync();
    }

    pub(super) fn discover(&mut self, addresses: &[&str]) {
        let targets = addresses.iter().map(|address| {
            let labels: Labels = [("__address__", *address)].into_iter().collect();
            labels
        });
        let group = TargetGroup {
            targets: targets.collect(),
            ..TargetGroup::default()
        };
        self.discover_groups(vec![Arc::new(group)]);
    }

    pub(super) fn discover_groups(&mut self, groups: Vec<Arc<TargetGroup>>) {
        let jobs: Jobs = [("j".to_owned(), groups)].into_iter().collect();
        self.manager.update_targets(&jobs);
        self.manager.sync();
    }

    pub(super) fn update_shard(&mut self, shard: Shard) {
        self.manager.update_shard(shard);
        self.manager.sync();
    }

    pub(super) fn answer(&self, reply: Reply) {
        *self.targets.reply.lock() = reply;
    }

    /// Makes the target with this URL stop responding.
    pub(super) fn silence(&self, url: &'static str) {
        *self.targets.silent.lock() = url;
    }

    /// Returns the number of requests to all targets.
    pub(super) fn requests(&self) -> usize {
        *self.targets.requests.lock()
    }

    pub(super) async fn seconds(&mut self, seconds: u64) {
        let over = sleep(Duration::from_secs(seconds));
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.manager.overrides_changed() => self.manager.sync(),
            }
        }
    }

    /// Sets the clock ahead, or back if `seconds` is negative.
    pub(super) fn set_clock(&self, seconds: i64) {
        self.skew_ms.store(seconds * 1000, Ordering::Relaxed);
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Makes all further exports hang.
    pub(super) fn block_exports(&self) {
        self.exports.close();
    }

    /// Fills the outbox with incompressible data until a scrape has no room.
    pub(super) fn fill_outbox(&self) {
        let hashes = (0..1u64 << 17).flat_map(|n| xxh3_64(&n.to_le_bytes()).to_le_bytes());
        let batch = Batch {
            key: 1,
            payload: hashes.take((1 << 20) - 100).collect(),
            samples: 1,
            time_ms: self.now_ms(),
            context: Arc::default(),
        };
        self.outbox.push(batch).unwrap();
    }

    pub(super) fn is_scraping(&self) -> bool {
        let status = self.manager.status();
        status.borrow().is_scraping(self.now_ms())
    }

    /// Returns the last scrape of the first target.
    pub(super) fn last(&self) -> LastScrape {
        let status = self.manager.status().borrow().clone();
        let health = status.jobs[0].targets[0].health.clone().unwrap();
        health.last().unwrap()
    }

    /// Returns the timestamps of all exported samples of a name.
    pub(super) fn times(&self, name: &str) -> Vec<i64> {
        self.samples(name).map(|(_, time_ms, _)| time_ms).collect()
    }

    /// Returns the values of all exported samples of a name; `None` for a marker.
    pub(super) fn values(&self, name: &str) -> Vec<Option<f64>> {
        self.samples(name).map(|(_, _, value)| value).collect()
    }

    fn samples(&self, name: &str) -> impl Iterator<Item = Exported> {
        let exported = self.exported.lock().clone();
        exported.into_iter().filter(move |(n, _, _)| n == name)
    }
}

fn parse(keys: &str) -> ScrapeConfig {
    let text = format!(
        "scrape_configs:\n- job_name: j\n  scrape_interval: 10s\n  scrape_timeout: 10s\n{keys}"
    );
    let config = Config::parse(&text, Path::new("p.yml"), &|_| None);
    config.unwrap().scrape_configs.remove(0)
}

async fn accept(
    export: Export,
    exported: Arc<Mutex<Vec<Exported>>>,
    exports: Arc<Semaphore>,
) -> Result<ExportResponse, ExportError> {
    if exports.acquire().await.is_err() {
        std::future::pending::<()>().await;
    }
    let request = ExportMetricsServiceRequest::decode(export.payload).unwrap();
    let scopes = request
        .resource_metrics
        .into_iter()
        .flat_map(|r| r.scope_metrics);
    let samples = scopes.flat_map(|scope| scope.metrics).flat_map(samples);
    exported.lock().extend(samples);
    Ok(ExportResponse::default())
}

fn samples(metric: Metric) -> Vec<Exported> {
    let Some(Data::Gauge(gauge)) = metric.data else {
        panic!("{metric:?}");
    };
    let points = gauge.data_points.into_iter();
    let samples = points.map(|point| {
        let value = point.value.map(|value| match value {
            Value::AsDouble(value) => value,
            Value::AsInt(value) => panic!("{value}"),
        });
        let time_ms = (point.time_unix_nano / 1_000_000) as i64;
        (metric.name.clone(), time_ms, value)
    });
    samples.collect()
}
