//! What a sender under test runs between: targets that say what a case wants, and a
//! backend that answers as it wants and writes every request down.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{Router, body::Body, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use prost::Message;
use proto::{v1, v2};
use tokio::{net::TcpListener, task::JoinSet};

/// Something to scrape. Each asking gets the next body, and the last one again.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

/// A backend that writes down what it gets.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    seen: Seen,
    _task: JoinSet<()>,
}

/// What it got so far.
type Seen = Arc<Mutex<Vec<Recorded>>>;

/// One request.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it came.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as it came.
    pub body: Bytes,
    /// What it was answered.
    pub answered: StatusCode,
}

/// An answer to a request.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; 204 at first.
    pub status: Option<StatusCode>,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// A body.
    pub body: String,
    /// How long it takes.
    pub delay: Duration,
}

/// Names and values of labels, in the order they were sent in.
pub type Pairs = Vec<(String, String)>;

/// A series of a request of either version, its references resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// Its labels.
    pub labels: Pairs,
    /// Values and times.
    pub samples: Vec<(f64, i64)>,
    /// Start times of the samples, 0 for none; in 2.0 only.
    pub starts: Vec<i64>,
    /// Native histograms' times.
    pub histograms: Vec<i64>,
    /// Exemplars: labels, value and time.
    pub exemplars: Vec<(Pairs, f64, i64)>,
    /// Type, HELP and UNIT; in 2.0 only.
    pub metadata: Option<(v2::metadata::MetricType, String, String)>,
}

/// What the n-th request is answered.
pub type Script = Arc<dyn Fn(usize, &[Sent]) -> Answer + Send + Sync>;

// === impl Target ===

impl Target {
    /// A target with these bodies. One with exemplars, or whose `openmetrics` is
    /// set, says it is OpenMetrics, as the suite's target does.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(bodies: &[&str]) -> anyhow::Result<Self> {
        let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
        let asked = Arc::new(Mutex::new(0));
        let answer = move || {
            let mut asked = lock(&asked);
            let body = bodies[(*asked).min(bodies.len() - 1)].clone();
            *asked += 1;
            async move { exposed(body) }
        };
        let router = Router::new().route("/metrics", axum::routing::get(answer));
        let (address, task) = serve(router).await?;
        Ok(Self {
            address,
            _task: task,
        })
    }
}

fn exposed(mut body: String) -> ([(header::HeaderName, &'static str); 1], String) {
    let openmetrics = body.contains("# {");
    if openmetrics && !body.ends_with("# EOF\n") {
        body.push_str("# EOF\n");
    }
    let content_type = match openmetrics {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(header::CONTENT_TYPE, content_type)], body)
}

// === impl Recorder ===

impl Recorder {
    /// A backend that answers as `script` says.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(
        script: impl Fn(usize, &[Sent]) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let seen = Seen::default();
        let script: Script = Arc::new(script);
        let router = Router::new()
            .fallback(record)
            .with_state((Arc::clone(&seen), script));
        let (address, task) = serve(router).await?;
        Ok(Self {
            address,
            seen,
            _task: task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where remote write is posted.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// What has come so far.
    pub fn seen(&self) -> Vec<Recorded> {
        lock(&self.seen).clone()
    }

    /// Waits until what has come is `enough`.
    ///
    /// # Errors
    /// Where that takes too long, with what was waited for.
    pub async fn wait(
        &self,
        what: &str,
        enough: impl Fn(&[Recorded]) -> bool,
    ) -> anyhow::Result<Vec<Recorded>> {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !enough(&lock(&self.seen)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let timed_out = waited.await.is_err();
        let seen = self.seen();
        ensure!(!timed_out, "{} requests and not {what}", seen.len());
        Ok(seen)
    }
}

/// A loaded machine is slow; a sender that sends nothing is found out all the same.
const PATIENCE: Duration = Duration::from_secs(90);

async fn record(State((seen, script)): State<(Seen, Script)>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let at = Instant::now();
    let body = axum::body::to_bytes(body, 64 << 20).await;
    let mut recorded = Recorded {
        at,
        method: head.method,
        headers: head.headers,
        body: body.unwrap_or_default(),
        answered: StatusCode::NO_CONTENT,
    };
    let sent = recorded.series().unwrap_or_default();
    let answer = {
        let mut seen = lock(&seen);
        let answer = script(seen.len(), &sent);
        recorded.answered = answer.status.unwrap_or(StatusCode::NO_CONTENT);
        seen.push(recorded.clone());
        answer
    };
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(recorded.answered);
    if recorded.answered.is_success() {
        // Remote write 2.0 wants to be told what was written.
        let count = |of: fn(&Sent) -> usize| sent.iter().map(of).sum::<usize>();
        let written = [
            ("samples", count(|series| series.samples.len())),
            ("histograms", count(|series| series.histograms.len())),
            ("exemplars", count(|series| series.exemplars.len())),
        ];
        for (what, n) in written {
            response = response.header(format!("x-prometheus-remote-write-{what}-written"), n);
        }
    }
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_default()
}

async fn serve(router: Router) -> anyhow::Result<(SocketAddr, JoinSet<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "Server stopped");
        }
    });
    Ok((address, task))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Answer ===

impl Answer {
    /// A status and nothing more.
    pub fn status(code: u16) -> Self {
        Self {
            status: StatusCode::from_u16(code).ok(),
            ..Self::default()
        }
    }

    /// With a body.
    #[must_use]
    pub fn with_body(self, body: impl Into<String>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }

    /// With a header more.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

// === impl Recorded ===

impl Recorded {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it says that it is of remote write 2.0.
    pub fn is_v2(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.contains("io.prometheus.write.v2.Request"))
    }

    /// The message in snappy's block format.
    ///
    /// # Errors
    /// Where it is none.
    pub fn message(&self) -> anyhow::Result<Vec<u8>> {
        let mut decoder = snap::raw::Decoder::new();
        Ok(decoder.decompress_vec(&self.body)?)
    }

    /// The request of remote write 2.0.
    ///
    /// # Errors
    /// Where it is none.
    pub fn v2(&self) -> anyhow::Result<v2::Request> {
        Ok(v2::Request::decode(self.message()?.as_slice())?)
    }

    /// The request of remote write 1.0.
    ///
    /// # Errors
    /// Where it is none.
    pub fn v1(&self) -> anyhow::Result<v1::WriteRequest> {
        Ok(v1::WriteRequest::decode(self.message()?.as_slice())?)
    }

    /// The series of either version.
    ///
    /// # Errors
    /// Where a body cannot be read, or a reference leads nowhere.
    pub fn series(&self) -> anyhow::Result<Vec<Sent>> {
        match self.is_v2() {
            true => resolve(&self.v2()?),
            false => Ok(self.v1()?.timeseries.into_iter().map(Sent::from).collect()),
        }
    }
}

fn resolve(request: &v2::Request) -> anyhow::Result<Vec<Sent>> {
    let symbol = |reference: u32| {
        let symbol = request.symbols.get(reference as usize);
        symbol.cloned().context("a reference beyond the symbols")
    };
    let labels = |references: &[u32]| {
        ensure!(
            references.len().is_multiple_of(2),
            "an odd number of references"
        );
        let pairs = references.chunks_exact(2);
        pairs
            .map(|pair| Ok((symbol(pair[0])?, symbol(pair[1])?)))
            .collect()
    };
    let series = request.timeseries.iter().map(|series| {
        let exemplars = series.exemplars.iter();
        let exemplars =
            exemplars.map(|e| anyhow::Ok((labels(&e.labels_refs)?, e.value, e.timestamp)));
        let metadata = series.metadata.map(|metadata| {
            let (help, unit) = (symbol(metadata.help_ref)?, symbol(metadata.unit_ref)?);
            anyhow::Ok((metadata.r#type(), help, unit))
        });
        Ok(Sent {
            labels: labels(&series.labels_refs)?,
            samples: series
                .samples
                .iter()
                .map(|s| (s.value, s.timestamp))
                .collect(),
            starts: series.samples.iter().map(|s| s.start_timestamp).collect(),
            histograms: series.histograms.iter().map(|h| h.timestamp).collect(),
            exemplars: exemplars.collect::<Result<_, _>>()?,
            metadata: metadata.transpose()?,
        })
    });
    series.collect()
}

// === impl Sent ===

impl Sent {
    /// A label's value; nothing where the series does not have it.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    /// The metric's name.
    pub fn name(&self) -> &str {
        self.label("__name__")
    }

    /// The value of its first sample.
    pub fn value(&self) -> Option<f64> {
        self.samples.first().map(|(value, _)| *value)
    }

    /// Times of its samples and histograms.
    pub fn times(&self) -> impl Iterator<Item = i64> + '_ {
        let samples = self.samples.iter().map(|(_, time)| *time);
        samples.chain(self.histograms.iter().copied())
    }
}

impl From<v1::TimeSeries> for Sent {
    fn from(series: v1::TimeSeries) -> Self {
        let pairs = |labels: Vec<v1::Label>| -> Vec<_> {
            labels.into_iter().map(|l| (l.name, l.value)).collect()
        };
        let exemplars = series.exemplars.into_iter();
        Self {
            labels: pairs(series.labels),
            samples: series
                .samples
                .iter()
                .map(|s| (s.value, s.timestamp))
                .collect(),
            histograms: series.histograms.iter().map(|h| h.timestamp).collect(),
            exemplars: exemplars
                .map(|e| (pairs(e.labels), e.value, e.timestamp))
                .collect(),
            ..Self::default()
        }
    }
}
