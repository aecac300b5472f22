//! Totals of all streams, limited in number, bytes and age.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    time::Duration,
};

use mesh_contract::verdict::Reason;
use tokio::time::Instant;

use super::{args::DeltaArgs, metrics::DeltaMetrics, point::DeltaPoint, total::Total};
use crate::stream::StreamId;

/// Totals of the streams that this gateway owns.
#[derive(Debug)]
pub(crate) struct Streams {
    by_id: HashMap<StreamId, Stream>,
    bytes: usize,
    limits: Limits,
    last_sweep: Instant,
    metrics: DeltaMetrics,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    streams: usize,
    bytes: usize,
    max_age: Duration,
}

#[derive(Debug)]
struct Stream {
    /// Start time of the total, in nanoseconds since the Unix epoch.
    start: u64,
    total: Total,
    /// Start and end time of the latest deltas, oldest first.
    recent: VecDeque<(u64, u64)>,
    last_seen: Instant,
}

/// Outcome of adding a delta to its stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Added<P> {
    /// The delta was added. The cumulative point replaces it.
    Counted(P),
    /// The total includes the delta already: the client sent it again. The cumulative
    /// point is `None` if later deltas were added since.
    Repeated(Option<P>),
    /// The delta is rejected; the client must not retry it.
    Rejected(Reason, &'static str),
}

/// Number of latest deltas per stream that are remembered, to recognise a retry.
const RECENT_INTERVALS: usize = 4;
/// Minimum time between two searches for expired streams.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

// === impl Streams ===

impl Streams {
    pub(crate) fn new(args: &DeltaArgs, metrics: DeltaMetrics) -> Self {
        let limits = Limits {
            streams: args.max_streams,
            bytes: args.max_bytes.in_memory(),
            max_age: args.max_age,
        };
        Self {
            by_id: HashMap::new(),
            bytes: 0,
            limits,
            last_sweep: Instant::now(),
            metrics,
        }
    }

    /// Adds a delta to its stream.
    ///
    /// Follows the OpenTelemetry Collector's deltatocumulative processor. A delta is
    /// rejected if it starts before its stream or does not end after the last delta. A
    /// delta that overlaps the last one or leaves a gap is added.
    pub(crate) fn add<P: DeltaPoint>(
        &mut self,
        id: StreamId,
        delta: P,
        monotonic: bool,
    ) -> Added<P> {
        if let Some((reason, problem)) = delta.problem(monotonic) {
            return Added::Rejected(reason, problem);
        }
        let now = Instant::now();
        let interval = (delta.start(), delta.time());
        let Some(stream) = self.by_id.get_mut(&id) else {
            if self.by_id.len() >= self.limits.streams || self.bytes >= self.limits.bytes {
                return Added::Rejected(
                    Reason::DeltaStreamLimit,
                    "new delta stream beyond --delta.max-streams or --delta.max-bytes",
                );
            }
            let stream = Stream::new(&delta, now);
            let point = stream.point(delta);
            self.bytes += stream.bytes();
            self.by_id.insert(id, stream);
            self.metrics.started();
            return Added::Counted(point);
        };
        stream.last_seen = now;
        if stream.recent.contains(&interval) {
            let latest = stream.recent.back() == Some(&interval);
            return Added::Repeated(latest.then(|| stream.point(delta)));
        }
        let last = stream.recent.back().map_or(0, |(_, time)| *time);
        if interval.0 != 0 && interval.0 < stream.start {
            let problem = "delta that starts before its stream";
            return Added::Rejected(Reason::OutOfOrder, problem);
        }
        if interval.1 <= last {
            let problem = "delta that does not end after the last one";
            return Added::Rejected(Reason::OutOfOrder, problem);
        }
        let before = stream.bytes();
        if delta.add_to(&mut stream.total) {
            stream.remember(interval);
        } else {
            *stream = Stream::new(&delta, now);
            self.metrics.started();
        }
        self.bytes = self.bytes + stream.bytes() - before;
        Added::Counted(stream.point(delta))
    }

    /// Evicts streams that had no point for `--delta.max-age`.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        if now - self.last_sweep >= SWEEP_INTERVAL {
            self.last_sweep = now;
            let max_age = self.limits.max_age;
            self.retain(|_, stream| now - stream.last_seen <= max_age);
        }
    }

    /// Evicts streams that other gateways own now. If such a stream returned, its total
    /// would lack the deltas that the other owner added.
    pub(crate) fn retain_owned(&mut self, owns: impl Fn(StreamId) -> bool) {
        self.retain(|id, _| owns(id));
    }

    pub(crate) fn update_gauges(&self) {
        self.metrics.set_size(self.by_id.len(), self.bytes);
    }

    fn retain(&mut self, retain: impl Fn(StreamId, &Stream) -> bool) {
        let before = self.by_id.len();
        self.by_id.retain(|id, stream| retain(*id, stream));
        self.metrics.evicted(before - self.by_id.len());
        self.bytes = self.by_id.values().map(Stream::bytes).sum();
    }
}

// === impl Stream ===

impl Stream {
    fn new<P: DeltaPoint>(delta: &P, now: Instant) -> Self {
        let start = match delta.start() {
            // Without a start time the total starts at the point itself.
            0 => delta.time(),
            start => start,
        };
        Self {
            start,
            total: delta.to_total(),
            recent: VecDeque::from([(delta.start(), delta.time())]),
            last_seen: now,
        }
    }

    fn remember(&mut self, interval: (u64, u64)) {
        if self.recent.len() == RECENT_INTERVALS {
            self.recent.pop_front();
        }
        self.recent.push_back(interval);
    }

    fn point<P: DeltaPoint>(&self, delta: P) -> P {
        delta.into_cumulative(self.start, &self.total)
    }

    fn bytes(&self) -> usize {
        let entry =
            size_of::<StreamId>() + size_of::<Self>() + RECENT_INTERVALS * size_of::<(u64, u64)>();
        entry + self.total.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
