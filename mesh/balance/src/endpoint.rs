//! One exporter: its connection, its load, its record of failures.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Uri;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use super::{
    connection::{Connection, KeepUp},
    lock,
};
use mesh_contract::{export::ExportError, verdict::Verdict};
use mesh_wire::otlp::EXPORT_PATH;

/// Failures in a row after which an exporter is left alone for a while.
const FAILURES_TO_EJECT: u32 = 3;
/// How long at first; doubled each time.
const FIRST_EJECTION: Duration = Duration::from_millis(500);
const LONGEST_EJECTION: Duration = Duration::from_secs(30);
/// A latency that was seen loses its weight in about this time.
const DECAY: Duration = Duration::from_secs(10);
/// What an exporter is thought to take before it was seen.
const FIRST_LATENCY: Duration = Duration::from_millis(30);
/// What a failure counts as, so that failing quickly does not attract requests.
const FAILURE_LATENCY: Duration = Duration::from_secs(1);

/// One exporter.
pub(super) struct Endpoint {
    address: String,
    /// Of the Export method.
    uri: Uri,
    connection: watch::Receiver<Option<Connection>>,
    pending: AtomicUsize,
    record: Mutex<Record>,
    task: AbortHandle,
}

/// How an exporter did lately.
#[derive(Debug)]
struct Record {
    /// Peak-sensitive moving average: jumps up at once, comes down slowly.
    latency: Duration,
    updated: Instant,
    failures_in_a_row: u32,
    ejected_until: Option<Instant>,
}

/// A request under way. Dropped without [`InFlight::end`], it has timed out.
pub(super) struct InFlight<'a> {
    endpoint: &'a Endpoint,
    started: Instant,
    ended: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint whose connection is kept up for as long as it exists.
    pub(super) fn connect(keep_up: KeepUp) -> Arc<Self> {
        let (slot, connection) = watch::channel(None);
        let address = keep_up.address.clone();
        let task = tokio::spawn(keep_up.run(slot)).abort_handle();
        let uri = |authority: &str| format!("http://{authority}{EXPORT_PATH}").parse();
        let uri = uri(&address).or_else(|_| {
            // Only the :authority header suffers; no peer of ours looks at it.
            uri("exporter")
        });
        Arc::new(Self {
            address,
            uri: uri.unwrap_or_default(),
            connection,
            pending: AtomicUsize::new(0),
            record: Mutex::new(Record::new(Instant::now())),
            task,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection().is_some()
    }

    /// The connection, where it is up.
    pub(super) fn connection(&self) -> Option<Connection> {
        let connection = self.connection.borrow().clone()?;
        (!connection.is_closed()).then_some(connection)
    }

    pub(super) fn is_ejected(&self) -> bool {
        let until = lock(&self.record).ejected_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Requests that wait for it, weighted by how long one takes.
    pub(super) fn load(&self) -> f64 {
        let latency = lock(&self.record).latency_at(Instant::now());
        let pending = self.pending.load(Ordering::Relaxed);
        (pending + 1) as f64 * latency.as_secs_f64()
    }

    pub(super) fn begin(&self) -> InFlight<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        InFlight {
            endpoint: self,
            started: Instant::now(),
            ended: false,
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.address)
    }
}

// === impl Record ===

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            latency: FIRST_LATENCY,
            updated: now,
            failures_in_a_row: 0,
            ejected_until: None,
        }
    }

    fn latency_at(&self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.updated).as_secs_f64();
        let weight = (-since / DECAY.as_secs_f64()).exp();
        self.latency.mul_f64(weight) + FIRST_LATENCY.mul_f64(1.0 - weight)
    }

    fn observe(&mut self, latency: Duration, now: Instant) {
        let before = self.latency_at(now);
        self.latency = if latency > before {
            latency
        } else {
            before.mul_f64(0.8) + latency.mul_f64(0.2)
        };
        self.updated = now;
    }

    fn succeed(&mut self, latency: Duration, now: Instant) {
        self.observe(latency, now);
        self.failures_in_a_row = 0;
        self.ejected_until = None;
    }

    /// The exporter is there and could not do it: no reason to leave it alone, but
    /// others may be better off.
    fn give_back(&mut self, latency: Duration, now: Instant) {
        self.observe(latency.max(FAILURE_LATENCY), now);
        self.failures_in_a_row = 0;
        self.ejected_until = None;
    }

    fn fail(&mut self, latency: Duration, now: Instant) {
        self.observe(latency.max(FAILURE_LATENCY), now);
        self.failures_in_a_row += 1;
        if let Some(times) = self.failures_in_a_row.checked_sub(FAILURES_TO_EJECT) {
            let span = FIRST_EJECTION * 2u32.pow(times.min(6));
            self.ejected_until = Some(now + span.min(LONGEST_EJECTION));
        }
    }
}

// === impl InFlight ===

impl InFlight<'_> {
    /// Books what became of the request.
    pub(super) fn end(mut self, outcome: &Result<Verdict, ExportError>) {
        self.ended = true;
        let now = Instant::now();
        let latency = now - self.started;
        let mut record = lock(&self.endpoint.record);
        match outcome {
            Ok(_) => record.succeed(latency, now),
            Err(ExportError::Again { .. }) => record.give_back(latency, now),
            // The connection was on its way out; nothing was seen of the exporter.
            Err(ExportError::Unsent(_)) => {}
            Err(ExportError::Unknown { .. }) => record.fail(latency, now),
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.endpoint.pending.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            let now = Instant::now();
            lock(&self.endpoint.record).fail(now - self.started, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn latency_jumps_up_and_comes_down_slowly() {
        let start = Instant::now();
        let mut record = Record::new(start);
        record.succeed(Duration::from_secs(1), start);
        assert_eq!(record.latency_at(start), Duration::from_secs(1));
        let later = start + Duration::from_secs(60);
        assert!(record.latency_at(later) < FIRST_LATENCY * 2);
        record.succeed(Duration::from_millis(1), start);
        assert!(record.latency_at(start) > Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_for_longer_and_longer() {
        let now = Instant::now();
        let mut record = Record::new(now);
        let mut spans = Vec::new();
        for _ in 0..20 {
            record.fail(Duration::ZERO, now);
            spans.push(record.ejected_until.map(|until| (until - now).as_millis()));
        }
        assert_eq!(spans[..5], [None, None, Some(500), Some(1000), Some(2000)]);
        assert_eq!(spans[19], Some(30_000));
        record.succeed(Duration::ZERO, now);
        assert_eq!(record.ejected_until, None);
    }
}
