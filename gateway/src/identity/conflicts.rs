//! Detects two writers of one stream: two processes with the same identity.
//!
//! A process that restarts or moves takes over its streams permanently. If the previous writer
//! returns, both are alive, and the series jumps between two counters. The start time of
//! the points identifies a writer, or its address if the points have none.

use std::{net::IpAddr, sync::Arc, time::Duration};

use foldhash::{HashMap, HashMapExt};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    metrics::v1::{Metric, ResourceMetrics},
};
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::time::Instant;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    points::{self, is_delta},
    stream::{Prefix, StreamId},
};

/// Tracks the writers of streams. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConflictDetector {
    state: Arc<Mutex<State>>,
    max_streams: usize,
    metrics: WriterMetrics,
}

#[derive(Debug)]
struct State {
    by_stream: HashMap<StreamId, LastWriters>,
    last_sweep: Instant,
    last_warning: Option<Instant>,
}

/// Last two writers of a stream.
#[derive(Clone, Copy, Debug)]
struct LastWriters {
    writer: u64,
    previous: Option<u64>,
    last_seen: Instant,
}

/// Metrics of the conflict detection.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriterMetrics {
    conflicts: Counter,
    streams: Gauge,
    streams_limit: Gauge,
    untracked: Counter,
}

/// Time without points after which a stream is evicted.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Minimum time between two warnings.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

// === impl ConflictDetector ===

impl ConflictDetector {
    /// Creates a detector that tracks at most `max_streams` streams.
    pub(crate) fn new(max_streams: usize, metrics: WriterMetrics) -> Self {
        let limit = i64::try_from(max_streams).unwrap_or(i64::MAX);
        metrics.streams_limit.set(limit);
        let state = State {
            by_stream: HashMap::new(),
            last_sweep: Instant::now(),
            last_warning: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            max_streams,
            metrics,
        }
    }

    /// Checks the points of a resource that `client` sent.
    pub(crate) fn check(&self, resource: &ResourceMetrics, client: Option<IpAddr>) {
        if self.max_streams == 0 {
            return;
        }
        let mut state = self.lock();
        let now = Instant::now();
        state.sweep(now);
        let address = client.map_or(0, |client| xxh3_64(client.to_string().as_bytes()));
        let prefix = Prefix::of_resource(resource.resource.as_ref());
        for scope in &resource.scope_metrics {
            let prefix = prefix.scope(scope.scope.as_ref());
            for metric in &scope.metrics {
                let prefix = prefix.metric(metric);
                let delta = is_delta(metric);
                let mut conflict = false;
                points::for_each(metric, |point| {
                    let writer = match point.start() {
                        0 => address,
                        // The start time of a delta changes with every point.
                        _ if delta => address,
                        start => start,
                    };
                    conflict |=
                        self.record(&mut state, prefix.point(point.attributes()), writer, now);
                });
                if conflict {
                    state.warn(resource, metric, client, now);
                }
            }
        }
        self.metrics.streams.set(state.by_stream.len() as i64);
    }

    /// Records the writer of a point. Returns true if a previous writer has returned.
    fn record(&self, state: &mut State, stream: StreamId, writer: u64, now: Instant) -> bool {
        let tracked = state.by_stream.len();
        let Some(last) = state.by_stream.get_mut(&stream) else {
            if tracked >= self.max_streams {
                self.metrics.untracked.inc();
                return false;
            }
            let last = LastWriters {
                writer,
                previous: None,
                last_seen: now,
            };
            state.by_stream.insert(stream, last);
            return false;
        };
        last.last_seen = now;
        if last.writer == writer {
            return false;
        }
        let conflict = last.previous == Some(writer);
        last.previous = Some(std::mem::replace(&mut last.writer, writer));
        if conflict {
            self.metrics.conflicts.inc();
        }
        conflict
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

// === impl State ===

impl State {
    fn sweep(&mut self, now: Instant) {
        if now - self.last_sweep >= SWEEP_INTERVAL {
            self.last_sweep = now;
            self.by_stream
                .retain(|_, last| now - last.last_seen <= MAX_AGE);
        }
    }

    fn warn(
        &mut self,
        resource: &ResourceMetrics,
        metric: &Metric,
        client: Option<IpAddr>,
        now: Instant,
    ) {
        if self
            .last_warning
            .is_some_and(|last| now - last < WARN_INTERVAL)
        {
            return;
        }
        self.last_warning = Some(now);
        let text = |key| text_of(resource, key).unwrap_or_default();
        warn!(
            metric = metric.name,
            service = text("service.name"),
            instance = text("service.instance.id"),
            client = client.map(tracing::field::display),
            "Two writers of one series"
        );
    }
}

// === impl WriterMetrics ===

impl WriterMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let own = metrics.clone();
        registry.register(
            "writer_conflicts",
            "Data points from a previous writer of a stream that another writer took over",
            own.conflicts,
        );
        registry.register(
            "writer_streams",
            "Streams whose writers are tracked",
            own.streams,
        );
        registry.register(
            "writer_streams_limit",
            "Maximum number of streams whose writers are tracked",
            own.streams_limit,
        );
        registry.register(
            "writer_unwatched_points",
            "Data points of streams beyond the limit on tracked streams",
            own.untracked,
        );
        metrics
    }
}

/// Returns the value of a resource attribute if it is a string.
fn text_of<'a>(metrics: &'a ResourceMetrics, key: &str) -> Option<&'a str> {
    let attributes = &metrics.resource.as_ref()?.attributes;
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, NumberDataPoint, ScopeMetrics, metric::Data,
    };

    use super::*;

    fn push(start: u64) -> ResourceMetrics {
        let point = NumberDataPoint {
            start_time_unix_nano: start,
            ..Default::default()
        };
        let metric = Metric {
            data: Some(Data::Gauge(Gauge {
                data_points: vec![point],
            })),
            ..Default::default()
        };
        ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn conflicts(pushes: &[(u8, u64)]) -> u64 {
        let detector = ConflictDetector::new(10, WriterMetrics::default());
        for (client, start) in pushes {
            detector.check(&push(*start), Some([10, 0, 0, *client].into()));
        }
        detector.metrics.conflicts.get()
    }

    #[tokio::test]
    async fn only_a_returning_writer_is_a_conflict() {
        for (pushes, expected) in [
            (&[(1, 5), (1, 5), (1, 5)][..], 0),
            // A restart, also one at another address.
            (&[(1, 5), (1, 6), (1, 6)], 0),
            (&[(1, 5), (2, 6), (2, 6)], 0),
            // One process behind two proxies.
            (&[(1, 5), (2, 5), (1, 5), (2, 5)], 0),
            // Start times that change with every point.
            (&[(1, 5), (1, 6), (1, 7), (1, 8)], 0),
            // Two processes, with one address or two, with start times or without.
            (&[(1, 5), (1, 6), (1, 5), (1, 6)], 2),
            (&[(1, 5), (2, 6), (1, 5)], 1),
            (&[(1, 0), (2, 0), (1, 0)], 1),
        ] {
            assert_eq!(conflicts(pushes), expected, "{pushes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tracks_no_more_streams_than_the_limit() {
        let detector = ConflictDetector::new(1, WriterMetrics::default());
        let mut other = push(1);
        other.scope_metrics[0].metrics[0].name = "other".to_owned();
        detector.check(&push(1), None);
        detector.check(&other, None);
        assert_eq!(detector.metrics.untracked.get(), 1);
        tokio::time::advance(MAX_AGE * 2).await;
        detector.check(&other, None);
        assert_eq!(detector.metrics.untracked.get(), 1);
    }
}
