//! Peers of a sender under test: targets with given bodies, and a backend that records every
//! request and responds as a script says.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{Router, body::Body, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use parking_lot::Mutex;
use prost::Message;
use proto::{v1, v2};
use tokio::{net::TcpListener, task::JoinSet};

/// A target. Each scrape gets the next body; the last body repeats.
#[derive(Debug)]
pub struct Target {
    /// Address of the target.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

/// A backend that records requests.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    requests: Requests,
    _task: JoinSet<()>,
}

/// Requests so far, oldest first.
type Requests = Arc<Mutex<Vec<RecordedRequest>>>;

/// A recorded request.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Time of the request.
    pub at: Instant,
    /// HTTP method.
    pub method: Method,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// Compressed body.
    pub body: Bytes,
    /// Status code of the response.
    pub status: StatusCode,
}

/// Response to a request.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Status code. Default: 204.
    pub status: Option<StatusCode>,
    /// HTTP headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: String,
    /// Time until the response.
    pub delay: Duration,
}

/// Names and values of labels, in the order of the request.
pub type Pairs = Vec<(String, String)>;

/// A series of a request, in remote write 1.0 or 2.0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentSeries {
    /// Labels.
    pub labels: Pairs,
    /// Values and timestamps of the float samples.
    pub samples: Vec<(f64, i64)>,
    /// Start timestamps of the float samples (2.0 only). 0 for none.
    pub starts: Vec<i64>,
    /// Timestamps of the native histograms.
    pub histograms: Vec<i64>,
    /// Exemplars: labels, value and timestamp.
    pub exemplars: Vec<(Pairs, f64, i64)>,
    /// Type, HELP and UNIT (2.0 only).
    pub metadata: Option<(v2::metadata::MetricType, String, String)>,
}

/// Function from the number of a request, from 0, and its series to the response.
pub type Script = Arc<dyn Fn(usize, &[SentSeries]) -> Reply + Send + Sync>;

// === impl Target ===

impl Target {
    /// Starts a target with these bodies. A body with exemplars has the content type of
    /// OpenMetrics, as in the suite's target.
    ///
    /// # Errors
    /// Returns an error if the target cannot listen.
    pub async fn start(bodies: &[&str]) -> anyhow::Result<Self> {
        let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
        let scrapes = Arc::new(Mutex::new(0));
        let respond = move || {
            let mut scrapes = scrapes.lock();
            let body = bodies[(*scrapes).min(bodies.len() - 1)].clone();
            *scrapes += 1;
            async move { exposition(body) }
        };
        let router = Router::new().route("/metrics", axum::routing::get(respond));
        let (address, task) = serve(router).await?;
        Ok(Self {
            address,
            _task: task,
        })
    }
}

/// Adds the content type, and the end marker of OpenMetrics.
fn exposition(mut body: String) -> ([(header::HeaderName, &'static str); 1], String) {
    let openmetrics = body.contains("# {");
    if openmetrics && !body.ends_with("# EOF\n") {
        body.push_str("# EOF\n");
    }
    let content_type = if openmetrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, content_type)], body)
}

// === impl Recorder ===

impl Recorder {
    /// Starts a backend that responds as `script` says.
    ///
    /// # Errors
    /// Returns an error if the backend cannot listen.
    pub async fn start(
        script: impl Fn(usize, &[SentSeries]) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let requests = Requests::default();
        let script: Script = Arc::new(script);
        let router = Router::new()
            .fallback(record)
            .with_state((Arc::clone(&requests), script));
        let (address, task) = serve(router).await?;
        Ok(Self {
            address,
            requests,
            _task: task,
        })
    }

    /// Address of the backend.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL that accepts remote write.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Requests so far, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().clone()
    }

    /// Waits until the requests are `enough`. `what` describes them in the error message.
    ///
    /// # Errors
    /// Returns an error if that takes more than 90 seconds.
    pub async fn wait(
        &self,
        what: &str,
        mut enough: impl FnMut(&[RecordedRequest]) -> bool,
    ) -> anyhow::Result<Vec<RecordedRequest>> {
        let waited = tokio::time::timeout(TIMEOUT, async {
            while !enough(&self.requests.lock()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let timed_out = waited.await.is_err();
        let requests = self.requests();
        let count = requests.len();
        ensure!(
            !timed_out,
            "not {what} within {TIMEOUT:?}: {count} requests"
        );
        Ok(requests)
    }
}

/// Maximum time until the expected requests have arrived, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(90);

async fn record(
    State((requests, script)): State<(Requests, Script)>,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    let at = Instant::now();
    let body = axum::body::to_bytes(body, 64 << 20).await;
    let mut recorded = RecordedRequest {
        at,
        method: head.method,
        headers: head.headers,
        body: body.unwrap_or_default(),
        status: StatusCode::NO_CONTENT,
    };
    let sent = recorded.series().unwrap_or_default();
    let reply = {
        let mut requests = requests.lock();
        let reply = script(requests.len(), &sent);
        recorded.status = reply.status.unwrap_or(StatusCode::NO_CONTENT);
        requests.push(recorded.clone());
        reply
    };
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(recorded.status);
    if recorded.status.is_success() {
        // Remote write 2.0 requires the numbers of written samples.
        let count = |of: fn(&SentSeries) -> usize| sent.iter().map(of).sum::<usize>();
        let written = [
            ("samples", count(|series| series.samples.len())),
            ("histograms", count(|series| series.histograms.len())),
            ("exemplars", count(|series| series.exemplars.len())),
        ];
        for (what, n) in written {
            response = response.header(format!("x-prometheus-remote-write-{what}-written"), n);
        }
    }
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap_or_default()
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

// === impl Reply ===

impl Reply {
    /// Returns a response that has only a status code.
    pub fn status(code: u16) -> Self {
        Self {
            status: StatusCode::from_u16(code).ok(),
            ..Self::default()
        }
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(self, body: impl Into<String>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

// === impl RecordedRequest ===

impl RecordedRequest {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns true if the content type is that of remote write 2.0.
    pub fn is_v2(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.contains("io.prometheus.write.v2.Request"))
    }

    /// Decompresses the body (snappy block format).
    ///
    /// # Errors
    /// Returns an error if the body is not snappy.
    pub fn message(&self) -> anyhow::Result<Vec<u8>> {
        let mut decoder = snap::raw::Decoder::new();
        Ok(decoder.decompress_vec(&self.body)?)
    }

    /// Decodes the body as remote write 2.0.
    ///
    /// # Errors
    /// Returns an error if the body is malformed.
    pub fn v2(&self) -> anyhow::Result<v2::Request> {
        Ok(v2::Request::decode(self.message()?.as_slice())?)
    }

    /// Decodes the body as remote write 1.0.
    ///
    /// # Errors
    /// Returns an error if the body is malformed.
    pub fn v1(&self) -> anyhow::Result<v1::WriteRequest> {
        Ok(v1::WriteRequest::decode(self.message()?.as_slice())?)
    }

    /// Decodes the series of the body, in either version.
    ///
    /// # Errors
    /// Returns an error if the body is malformed, or a symbol reference is out of range.
    pub fn series(&self) -> anyhow::Result<Vec<SentSeries>> {
        if self.is_v2() {
            return resolve(&self.v2()?);
        }
        let series = self.v1()?.timeseries.into_iter();
        Ok(series.map(SentSeries::from).collect())
    }
}

/// Replaces the symbol references of a request.
fn resolve(request: &v2::Request) -> anyhow::Result<Vec<SentSeries>> {
    let symbol = |reference: u32| {
        let symbol = request.symbols.get(reference as usize);
        symbol
            .cloned()
            .with_context(|| format!("symbol reference {reference} is out of range"))
    };
    let labels = |references: &[u32]| {
        ensure!(
            references.len().is_multiple_of(2),
            "the number of label references is odd: {}",
            references.len()
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
        Ok(SentSeries {
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

// === impl SentSeries ===

impl SentSeries {
    /// Value of a label. Empty if the series does not have it.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    /// Name of the metric.
    pub fn name(&self) -> &str {
        self.label("__name__")
    }

    /// Value of the first float sample.
    pub fn value(&self) -> Option<f64> {
        self.samples.first().map(|(value, _)| *value)
    }

    /// Timestamps of all samples.
    pub fn times(&self) -> impl Iterator<Item = i64> + '_ {
        let samples = self.samples.iter().map(|(_, time)| *time);
        samples.chain(self.histograms.iter().copied())
    }
}

impl From<v1::TimeSeries> for SentSeries {
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
