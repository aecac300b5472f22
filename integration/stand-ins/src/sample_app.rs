//! An application to scrape, with metrics of all four types whose values change.
//!
//! The app stores every body it has served. Each body carries its own number as the
//! counter `sample_app_scrapes_total`. A test that finds this number in a backend can
//! look up the body, and knows which values the backend must have stored beside it.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    routing::get,
};
use mesh_base::clock::Clock;
use mesh_model::flags;
use parking_lot::{Mutex, MutexGuard};
use rand::Rng;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Counter that numbers the scrapes, from 1.
pub const SCRAPES: &str = "sample_app_scrapes_total";

/// Request header that names the receiver that scrapes.
pub const SCRAPED_BY: &str = "x-scraped-by";

const BOUNDS: [(f64, &str); 3] = [(0.005, "0.005"), (0.1, "0.1"), (1.0, "1")];
const QUANTILES: [&str; 3] = ["0.1", "0.5", "0.99"];

/// Flags of the sample app.
#[derive(Clone, Debug, clap::Args)]
pub struct SampleAppArgs {
    /// Number of metrics of each of the four types.
    #[arg(long, env = "METRICS_LOAD", default_value_t = 10)]
    pub load: usize,

    /// Time between two changes of the values; 0 changes them on every scrape.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "1s"
    )]
    pub change_interval: Duration,
}

/// A running sample app. Dropping it stops the app.
#[derive(Debug)]
pub struct SampleApp {
    address: SocketAddr,
    app: App,
    _server: AbortOnDropHandle<()>,
}

/// A scrape that the app has answered.
#[derive(Clone, Debug)]
pub struct Served {
    /// Body of the response.
    pub body: Arc<str>,
    /// Value of the header [`SCRAPED_BY`], if the request has it.
    pub by: Option<String>,
    /// Time of the response, in milliseconds since the Unix epoch.
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
    /// Starts an app on a free loopback port.
    ///
    /// # Errors
    /// Returns an error if the app cannot listen.
    pub async fn start(args: &SampleAppArgs) -> anyhow::Result<Self> {
        Self::listen(args, "127.0.0.1:0".parse()?).await
    }

    /// Starts an app that listens on `address`.
    ///
    /// # Errors
    /// Returns an error if the app cannot listen there.
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
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// Address that the app listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Body of the scrape with this number, from 1.
    pub fn body(&self, scrape: usize) -> Option<Arc<str>> {
        self.app
            .metrics()
            .served
            .get(scrape.checked_sub(1)?)
            .map(|served| served.body.clone())
    }

    /// All scrapes that the app has answered, oldest first.
    pub fn served(&self) -> Vec<Served> {
        self.app.metrics().served.clone()
    }

    /// Number of scrapes that the app has answered.
    pub fn scrapes(&self) -> usize {
        self.app.metrics().served.len()
    }
}

// === impl App ===

impl App {
    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.0.lock()
    }
}

// === impl Metrics ===

impl Metrics {
    fn new(args: &SampleAppArgs) -> Self {
        let mut metrics = Self {
            change_interval: args.change_interval,
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
            "# HELP {SCRAPES} Scrapes answered, including this one\n# TYPE {SCRAPES} counter\n{SCRAPES} {}\n",
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
    let by = headers.get(SCRAPED_BY).and_then(|by| by.to_str().ok());
    let body = app.metrics().serve(by.map(str::to_owned));
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], body.to_string())
}

/// Serves the series that a backend must have stored of the latest scrape.
///
/// The format is that of the AWS test framework, with counters and `+Inf` buckets.
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
