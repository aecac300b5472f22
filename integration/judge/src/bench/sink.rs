//! A backend that stores nothing, counts what arrives, and answers after a given time.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use mesh_base::clock::Clock;
use mesh_wire::protobuf::{Fields, WireError};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A running backend.
#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    counts: Arc<Counts>,
    _server: AbortOnDropHandle<()>,
}

/// Counts of everything that arrived so far.
#[derive(Debug)]
struct Counts {
    latency: Duration,
    posts: AtomicU64,
    bytes: AtomicU64,
    samples: AtomicU64,
    malformed: AtomicU64,
    /// Number of samples by delay in milliseconds. The last one has all longer delays.
    delays: Mutex<Vec<u64>>,
}

/// Delays that are distinguished, in milliseconds.
const DELAYS: usize = 60_000;
/// `WriteRequest.timeseries`, `TimeSeries.samples`, `TimeSeries.histograms`.
const TIME_SERIES: u32 = 1;
const SAMPLES: u32 = 2;
const HISTOGRAMS: u32 = 4;
/// `Sample.timestamp`.
const TIMESTAMP: u32 = 2;
/// `Histogram.timestamp`.
const HISTOGRAM_TIMESTAMP: u32 = 15;

// === impl Sink ===

impl Sink {
    pub(super) async fn start(latency: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts {
            latency,
            posts: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            delays: Mutex::new(vec![0; DELAYS]),
        });
        let router = Router::new()
            .route("/write", post(write))
            .layer(DefaultBodyLimit::disable())
            .with_state(counts.clone());
        let server = async move {
            // Serving never ends by itself.
            let _ = axum::serve(listener, router).await;
        };
        Ok(Self {
            address,
            counts,
            _server: AbortOnDropHandle::new(tokio::spawn(server)),
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/write", self.address)
    }

    /// Number of posts so far.
    pub(super) fn posts(&self) -> u64 {
        self.counts.posts.load(Ordering::Relaxed)
    }

    /// Number of bytes of all posts so far.
    pub(super) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Number of samples so far.
    pub(super) fn samples(&self) -> u64 {
        self.counts.samples.load(Ordering::Relaxed)
    }

    /// Number of posts that could not be read.
    pub(super) fn malformed(&self) -> u64 {
        self.counts.malformed.load(Ordering::Relaxed)
    }

    /// Number of samples by delay in milliseconds, from their timestamp to the answer.
    pub(super) fn delays(&self) -> Vec<u64> {
        self.counts.delays.lock().clone()
    }
}

// === impl Counts ===

impl Counts {
    fn record(&self, body: &[u8], answered_ms: i64) -> Result<(), WireError> {
        let mut delays = self.delays.lock();
        for series in Fields::new(body) {
            let series = series?;
            if series.number != TIME_SERIES {
                continue;
            }
            for field in Fields::new(series.bytes()?) {
                let field = field?;
                let timestamp = match field.number {
                    SAMPLES => TIMESTAMP,
                    HISTOGRAMS => HISTOGRAM_TIMESTAMP,
                    _ => continue,
                };
                for sample in Fields::new(field.bytes()?) {
                    let sample = sample?;
                    if sample.number == timestamp {
                        let delay = answered_ms.saturating_sub(sample.varint()? as i64);
                        delays[(delay.max(0) as usize).min(DELAYS - 1)] += 1;
                    }
                }
                self.samples.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

async fn write(State(counts): State<Arc<Counts>>, body: Bytes) -> StatusCode {
    counts.posts.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    let answered_ms = Clock::system().now_ms() + counts.latency.as_millis() as i64;
    let recorded = snap::raw::Decoder::new()
        .decompress_vec(&body)
        .is_ok_and(|body| counts.record(&body, answered_ms).is_ok());
    if !recorded {
        counts.malformed.fetch_add(1, Ordering::Relaxed);
    }
    tokio::time::sleep(counts.latency).await;
    StatusCode::NO_CONTENT
}
