//! One job whose targets answer as told, and what arrives of their scrapes.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use mesh::{
    balance::Connector,
    batch::{Batch, Facts},
    budget::Budget,
    clock::Clock,
    config::{Config, discovery::TargetGroup, scrape::ScrapeConfig},
    export::{Export, ExportError},
    labels::Labels,
    outbox::{Outbox, OutboxArgs, Workers},
    verdict::Verdict,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, metric::Data, number_data_point::Value},
};
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
        LastScrape, Manager, Prepared, ScrapeError, ScrapeMetrics, Shared,
        client::{Ask, Fetched, Place},
        job::Job,
    },
    shard::Shard,
};

const START_MS: i64 = 1_795_427_440_000;

/// What a target answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Body(&'static str),
    Never,
}

/// Targets that all answer the same.
#[derive(Debug)]
struct Targets {
    answer: Mutex<Answer>,
    asked: Mutex<usize>,
}

/// One sample that arrived: name, time, value or the end of its series.
type Arrived = (String, i64, Option<f64>);

pub(super) struct Bench {
    pub(super) manager: Manager,
    pub(super) outbox: Outbox,
    shared: Shared,
    /// By how much the clock is wrong.
    skew_ms: Arc<AtomicI64>,
    targets: Arc<Targets>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    exports: Arc<Semaphore>,
    config: ScrapeConfig,
    _workers: Workers,
}

impl Ask for Targets {
    fn get<'a>(
        &'a self,
        _: Place<'a>,
        timeout: Duration,
        expected: usize,
        budget: &'a Budget,
    ) -> BoxFuture<'a, Result<Fetched, ScrapeError>> {
        *self.asked.lock().unwrap() += 1;
        let answer = *self.answer.lock().unwrap();
        async move {
            let share = budget.take(expected).await;
            let answered = async {
                match answer {
                    Answer::Body(body) => Fetched::new("text/plain", body, share),
                    Answer::Never => std::future::pending().await,
                }
            };
            let answered = timeout_at(Instant::now() + timeout, answered).await;
            answered.map_err(|_| ScrapeError::Timeout(timeout))
        }
        .boxed()
    }
}

impl Bench {
    /// A manager that scrapes the target `t:1` every 10 s, which answers `body`.
    pub(super) async fn scraping(body: &'static str) -> Self {
        let (right, skew_ms) = (Clock::of_runtime(START_MS), Arc::new(AtomicI64::new(0)));
        let skew = skew_ms.clone();
        let clock = Clock::new(move || right.now_ms() + skew.load(Ordering::Relaxed));
        let (arrived, exports) = (Arc::default(), Arc::new(Semaphore::new(1)));
        let service = {
            let (arrived, exports) = (Arc::clone(&arrived), Arc::clone(&exports));
            tower::service_fn(move |export| {
                accept(export, Arc::clone(&arrived), Arc::clone(&exports)).boxed()
            })
        };
        let args = OutboxArgs {
            max_bytes: 1 << 20,
            ..OutboxArgs::default()
        };
        let (outbox, workers) = Outbox::sharing_keys(&args, clock.clone(), service);
        let options = handover::Options {
            name: "me:1".to_owned(),
            // As a fixed list names them.
            members_are_ready: false,
            unready: watch::channel(None).1,
            timeout: Duration::from_secs(10),
            away_timeout: Duration::from_secs(60),
            connector: Some(Connector::new(|_| async {
                Err::<tokio::io::DuplexStream, _>(io::ErrorKind::ConnectionRefused.into())
            })),
        };
        let metrics = HandoverMetrics::default();
        let (handover, asker) = Handover::new(options, clock.clone(), outbox.clone(), metrics);
        tokio::spawn(asker.run());
        let shared = Shared {
            clock,
            outbox: outbox.clone(),
            handover,
            budget: Budget::new(1 << 20),
            running: Arc::new(Semaphore::new(100)),
            metrics: ScrapeMetrics::register(&mut Registry::default()),
            max_body_bytes: 1 << 20,
            start_timestamps: false,
            connector: None,
        };
        let mut bench = Self {
            manager: Manager::new(shared.clone()),
            outbox,
            shared,
            skew_ms,
            targets: Arc::new(Targets {
                answer: Mutex::new(Answer::Body(body)),
                asked: Mutex::default(),
            }),
            arrived,
            exports,
            config: parse(""),
            _workers: workers,
        };
        bench.manager.share(Shard::alone());
        bench.configure("");
        bench.discover(&["t:1"]);
        bench
    }

    /// Reloads with these keys beside the job's name.
    pub(super) fn configure(&mut self, keys: &str) {
        self.config = parse(keys);
        let facts = Arc::new(Facts::default());
        let job = Job::new(self.config.clone(), facts, &self.shared, None);
        let mut job = job.unwrap();
        job.ask = self.targets.clone();
        self.manager.apply(Prepared(vec![Arc::new(job)]));
        self.manager.sync();
    }

    pub(super) fn forget_jobs(&mut self) {
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
        let jobs: Jobs = [("j".to_owned(), vec![Arc::new(group)])]
            .into_iter()
            .collect();
        self.manager.discovered(&jobs);
        self.manager.sync();
    }

    pub(super) fn share(&mut self, shard: Shard) {
        self.manager.share(shard);
        self.manager.sync();
    }

    pub(super) fn answer(&self, answer: Answer) {
        *self.targets.answer.lock().unwrap() = answer;
    }

    /// How often targets were asked.
    pub(super) fn asked(&self) -> usize {
        *self.targets.asked.lock().unwrap()
    }

    pub(super) async fn seconds(&mut self, seconds: u64) {
        let over = sleep(Duration::from_secs(seconds));
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.manager.told() => self.manager.sync(),
            }
        }
    }

    /// Lets the clock go wrong by so many seconds.
    pub(super) fn set_clock(&self, seconds: i64) {
        self.skew_ms.store(seconds * 1000, Ordering::Relaxed);
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Lets nothing more arrive.
    pub(super) fn hold_exports(&self) {
        self.exports.close();
    }

    /// Leaves less room in the outbox than a scrape needs, with what compression
    /// does not make smaller.
    pub(super) fn fill_outbox(&self) {
        let hashes = (0..1u64 << 17).flat_map(|n| xxh3_64(&n.to_le_bytes()).to_le_bytes());
        let batch = Batch {
            key: 1,
            payload: hashes.take((1 << 20) - 100).collect(),
            samples: 1,
            time_ms: self.now_ms(),
            facts: Arc::default(),
        };
        self.outbox.push(batch).unwrap();
    }

    pub(super) fn is_scraping(&self) -> bool {
        let status = self.manager.status();
        status.borrow().is_scraping(self.now_ms())
    }

    /// The last scrape of the first target.
    pub(super) fn last(&self) -> LastScrape {
        let status = self.manager.status().borrow().clone();
        let health = status.jobs[0].targets[0].health.clone().unwrap();
        health.last().unwrap()
    }

    /// Times of all samples of a name, as they arrived.
    pub(super) fn times(&self, name: &str) -> Vec<i64> {
        self.samples(name).map(|(_, time_ms, _)| time_ms).collect()
    }

    /// Values likewise; `None` for a marker.
    pub(super) fn values(&self, name: &str) -> Vec<Option<f64>> {
        self.samples(name).map(|(_, _, value)| value).collect()
    }

    fn samples(&self, name: &str) -> impl Iterator<Item = Arrived> {
        let arrived = self.arrived.lock().unwrap().clone();
        arrived.into_iter().filter(move |(n, _, _)| n == name)
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
    arrived: Arc<Mutex<Vec<Arrived>>>,
    exports: Arc<Semaphore>,
) -> Result<Verdict, ExportError> {
    if exports.acquire().await.is_err() {
        std::future::pending::<()>().await;
    }
    let request = ExportMetricsServiceRequest::decode(export.payload).unwrap();
    let scopes = request
        .resource_metrics
        .into_iter()
        .flat_map(|r| r.scope_metrics);
    let samples = scopes.flat_map(|scope| scope.metrics).flat_map(samples);
    arrived.lock().unwrap().extend(samples);
    Ok(Verdict::default())
}

fn samples(metric: Metric) -> Vec<Arrived> {
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
