//! Two writers of one stream: two processes that say they are the same one.
//!
//! A process that restarts, or moves, takes a stream over and keeps it. Where a
//! writer comes back that had been taken over from, both are alive, and whoever
//! reads the series sees one counter jump between two. A writer is known by the
//! start time of its points, and where they have none by its address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::time::Instant;
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::text_of;
use crate::{
    delta::{
        is_delta,
        stream::{Prefix, StreamId},
    },
    points,
};

/// Watches who writes which stream. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Writers {
    state: Arc<Mutex<State>>,
    max_streams: usize,
    metrics: WriterMetrics,
}

#[derive(Debug)]
struct State {
    by_stream: HashMap<StreamId, Last>,
    swept: Instant,
    told: Option<Instant>,
}

/// Who wrote a stream last, and who before.
#[derive(Clone, Copy, Debug)]
struct Last {
    writer: u64,
    before: Option<u64>,
    seen: Instant,
}

/// What is counted of writers.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriterMetrics {
    conflicts: Counter,
    streams: Gauge,
    streams_limit: Gauge,
    unwatched: Counter,
}

/// A stream without points is forgotten after this long.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
const SWEEP: Duration = Duration::from_secs(30);
/// At most one line in this time.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

// === impl Writers ===

impl Writers {
    /// Watches as many streams.
    pub(crate) fn new(max_streams: usize, metrics: WriterMetrics) -> Self {
        let limit = i64::try_from(max_streams).unwrap_or(i64::MAX);
        metrics.streams_limit.set(limit);
        let state = State {
            by_stream: HashMap::new(),
            swept: Instant::now(),
            told: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            max_streams,
            metrics,
        }
    }

    /// Looks at a resource that came from `client`.
    pub(crate) fn watch(&self, resource: &ResourceMetrics, client: Option<IpAddr>) {
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
                        // A delta starts where the last one ended.
                        0 => address,
                        _ if delta => address,
                        start => start,
                    };
                    conflict |=
                        self.write(&mut state, prefix.point(point.attributes()), writer, now);
                });
                if conflict {
                    state.tell(resource, metric, client, now);
                }
            }
        }
        self.metrics.streams.set(state.by_stream.len() as i64);
    }

    /// Notes a point; whether it shows a second writer.
    fn write(&self, state: &mut State, stream: StreamId, writer: u64, now: Instant) -> bool {
        let there = state.by_stream.len();
        let Some(last) = state.by_stream.get_mut(&stream) else {
            if there >= self.max_streams {
                self.metrics.unwatched.inc();
                return false;
            }
            let last = Last {
                writer,
                before: None,
                seen: now,
            };
            state.by_stream.insert(stream, last);
            return false;
        };
        last.seen = now;
        if last.writer == writer {
            return false;
        }
        let conflict = last.before == Some(writer);
        last.before = Some(std::mem::replace(&mut last.writer, writer));
        if conflict {
            self.metrics.conflicts.inc();
        }
        conflict
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave its state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn sweep(&mut self, now: Instant) {
        if now - self.swept >= SWEEP {
            self.swept = now;
            self.by_stream.retain(|_, last| now - last.seen <= MAX_AGE);
        }
    }

    fn tell(
        &mut self,
        resource: &ResourceMetrics,
        metric: &Metric,
        client: Option<IpAddr>,
        now: Instant,
    ) {
        if self.told.is_some_and(|told| now - told < TELL_INTERVAL) {
            return;
        }
        self.told = Some(now);
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
            "Data points of a stream that another writer had taken over",
            own.conflicts,
        );
        registry.register(
            "writer_streams",
            "Streams whose writers are watched",
            own.streams,
        );
        registry.register(
            "writer_streams_limit",
            "Streams whose writers may be watched",
            own.streams_limit,
        );
        registry.register(
            "writer_unwatched_points",
            "Data points of streams beyond that limit",
            own.unwatched,
        );
        metrics
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
        let writers = Writers::new(10, WriterMetrics::default());
        for (client, start) in pushes {
            writers.watch(&push(*start), Some([10, 0, 0, *client].into()));
        }
        writers.metrics.conflicts.get()
    }

    #[tokio::test]
    async fn only_who_comes_back_is_a_second_writer() {
        for (pushes, expected) in [
            (&[(1, 5), (1, 5), (1, 5)][..], 0),
            // A restart, also one at another address.
            (&[(1, 5), (1, 6), (1, 6)], 0),
            (&[(1, 5), (2, 6), (2, 6)], 0),
            // One process by way of two proxies.
            (&[(1, 5), (2, 5), (1, 5), (2, 5)], 0),
            // Start times that change with every point.
            (&[(1, 5), (1, 6), (1, 7), (1, 8)], 0),
            // Two of them, behind one address or two, with start times or without.
            (&[(1, 5), (1, 6), (1, 5), (1, 6)], 2),
            (&[(1, 5), (2, 6), (1, 5)], 1),
            (&[(1, 0), (2, 0), (1, 0)], 1),
        ] {
            assert_eq!(conflicts(pushes), expected, "{pushes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_streams_are_watched_than_may_be() {
        let writers = Writers::new(1, WriterMetrics::default());
        let mut other = push(1);
        other.scope_metrics[0].metrics[0].name = "other".to_owned();
        writers.watch(&push(1), None);
        writers.watch(&other, None);
        assert_eq!(writers.metrics.unwatched.get(), 1);
        tokio::time::advance(MAX_AGE * 2).await;
        writers.watch(&other, None);
        assert_eq!(writers.metrics.unwatched.get(), 1);
    }
}
