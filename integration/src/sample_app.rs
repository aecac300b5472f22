//! An application to scrape: all four types, changing values, and what a backend
//! should hold of them.
//!
//! It remembers every body it has served, by a number that stands in the body
//! itself as `sample_app_scrapes_total`. Whoever finds that number in a backend
//! knows exactly which values belong beside it.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    routing::get,
};
use mesh::clock::Clock;
use rand::Rng;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// The counter that numbers the scrapes.
pub const SCRAPES: &str = "sample_app_scrapes_total";

/// The header of a scrape that says who asks.
pub const ASKED_BY: &str = "x-asked-by";

const BOUNDS: [(f64, &str); 3] = [(0.005, "0.005"), (0.1, "0.1"), (1.0, "1")];
const QUANTILES: [&str; 3] = ["0.1", "0.5", "0.99"];

/// What the sample app exposes.
#[derive(Clone, Debug, clap::Args)]
pub struct SampleAppArgs {
    /// Metrics of each of the four types.
    #[arg(long, env = "METRICS_LOAD", default_value_t = 10)]
    pub load: usize,

    /// Seconds between two changes of the values.
    #[arg(long, default_value_t = 1)]
    pub change_interval: u64,
}

/// A running sample app. It stops when it is dropped.
#[derive(Debug)]
pub struct SampleApp {
    address: SocketAddr,
    app: App,
    server: JoinHandle<()>,
}

/// A scrape that was answered.
#[derive(Clone, Debug)]
pub struct Served {
    /// What was answered.
    pub body: Arc<str>,
    /// Who asked, where the request has the header [`ASKED_BY`].
    pub by: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

#[derive(Clone, Debug)]
struct App(Arc<Mutex<Metrics>>);

#[derive(Debug)]
struct Metrics {
    change_interval: Duration,
    changed: Instant,
    families: Vec<Family>,
    served: Vec<Served>,
}

/// One metric of each type.
#[derive(Clone, Debug, Default)]
struct Family {
    counter: f64,
    gauge: f64,
    observations: Vec<f64>,
}

// === impl SampleApp ===

impl SampleApp {
    /// Starts an app on a loopback port of its own.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(args: &SampleAppArgs) -> anyhow::Result<Self> {
        Self::listen(args, "127.0.0.1:0".parse()?).await
    }

    /// Starts an app at an address.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn listen(args: &SampleAppArgs, address: SocketAddr) -> anyhow::Result<Self> {
        let app = App(Arc::new(Mutex::new(Metrics::new(args))));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/expected_metrics", get(expected_metrics))
            .with_state(app.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "Sample app stopped");
            }
        });
        Ok(Self {
            address,
            app,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of the scrape with this number, from 1.
    pub fn body(&self, scrape: usize) -> Option<Arc<str>> {
        self.app
            .metrics()
            .served
            .get(scrape.checked_sub(1)?)
            .map(|served| served.body.clone())
    }

    /// All scrapes that were answered, in their order.
    pub fn served(&self) -> Vec<Served> {
        self.app.metrics().served.clone()
    }

    /// How many scrapes were answered.
    pub fn scrapes(&self) -> usize {
        self.app.metrics().served.len()
    }
}

impl Drop for SampleApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// === impl App ===

impl App {
    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Metrics ===

impl Metrics {
    fn new(args: &SampleAppArgs) -> Self {
        let mut metrics = Self {
            change_interval: Duration::from_secs(args.change_interval),
            changed: Instant::now(),
            families: vec![Family::default(); args.load],
            served: Vec::new(),
        };
        metrics.change();
        metrics
    }

    /// Changes all values at once.
    fn change(&mut self) {
        let mut rng = rand::rng();
        for family in &mut self.families {
            family.counter += rng.random_range(0.0..10.0);
            family.gauge = rng.random_range(-1.0..1.0);
            family.observations.push(rng.random_range(0.0..2.0));
        }
        self.changed = Instant::now();
    }

    fn serve(&mut self, by: Option<String>) -> Arc<str> {
        if self.changed.elapsed() >= self.change_interval {
            self.change();
        }
        let mut body = format!(
            "# HELP {SCRAPES} Scrapes that were answered, this one included\n# TYPE {SCRAPES} counter\n{SCRAPES} {}\n",
            self.served.len() + 1
        );
        for (i, family) in self.families.iter().enumerate() {
            family.write(i, &mut body);
        }
        let body: Arc<str> = body.into();
        self.served.push(Served {
            body: body.clone(),
            by,
            at_ms: Clock::system().now_ms(),
        });
        body
    }
}

// === impl Family ===

impl Family {
    fn write(&self, i: usize, out: &mut String) {
        let _ = writeln!(
            out,
            "# HELP test_counter{i} A counter\n# TYPE test_counter{i} counter"
        );
        for (code, share) in [("200", 0.75), ("500", 0.25)] {
            let value = self.counter * share;
            let _ = writeln!(
                out,
                "test_counter{i}{{path=\"/api/{i}\",code=\"{code}\"}} {value}"
            );
        }
        let _ = writeln!(
            out,
            "# HELP test_gauge{i} A gauge\n# TYPE test_gauge{i} gauge"
        );
        let _ = writeln!(out, "test_gauge{i} {}", self.gauge);
        let _ = writeln!(out, "# HELP test_untyped{i} No type");
        let _ = writeln!(out, "test_untyped{i} {}", self.gauge * 1e9);
        let count = self.observations.len();
        let sum: f64 = self.observations.iter().sum();
        let _ = writeln!(
            out,
            "# HELP test_histogram{i} A histogram\n# TYPE test_histogram{i} histogram"
        );
        for (bound, text) in BOUNDS {
            let below = self.observations.iter().filter(|v| **v <= bound).count();
            let _ = writeln!(out, "test_histogram{i}_bucket{{le=\"{text}\"}} {below}");
        }
        let _ = writeln!(out, "test_histogram{i}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(
            out,
            "test_histogram{i}_sum {sum}\ntest_histogram{i}_count {count}"
        );
        let _ = writeln!(
            out,
            "# HELP test_summary{i} A summary\n# TYPE test_summary{i} summary"
        );
        let mut sorted = self.observations.clone();
        sorted.sort_by(f64::total_cmp);
        for quantile in QUANTILES {
            let rank = quantile.parse().unwrap_or(0.0) * (count - 1) as f64;
            let _ = writeln!(
                out,
                "test_summary{i}{{quantile=\"{quantile}\"}} {}",
                sorted[rank as usize]
            );
        }
        let _ = writeln!(
            out,
            "test_summary{i}_sum {sum}\ntest_summary{i}_count {count}"
        );
    }
}

async fn metrics(
    State(app): State<App>,
    headers: HeaderMap,
) -> ([(header::HeaderName, &'static str); 1], String) {
    let by = headers.get(ASKED_BY).and_then(|by| by.to_str().ok());
    let body = app.metrics().serve(by.map(str::to_owned));
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], body.to_string())
}

/// What a backend should hold of the scrape that was answered last, in the form of
/// the AWS test framework; counters and `+Inf` buckets included.
async fn expected_metrics(State(app): State<App>) -> Json<serde_json::Value> {
    let last = app.metrics().served.last().map(|last| last.body.clone());
    let series = crate::validator::expected(last.as_deref().unwrap_or_default());
    let now = Clock::system().now_ms() as f64 / 1000.0;
    let metrics = series
        .unwrap_or_default()
        .into_iter()
        .map(|(labels, value)| {
            let metric: serde_json::Map<_, _> = labels
                .iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            json!({"metric": metric, "value": [now.to_string(), value.to_string()]})
        });
    Json(metrics.collect())
}
