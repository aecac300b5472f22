//! The totals of all streams, bounded in number, bytes and age.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    time::Duration,
};

use mesh::verdict::Reason;
use tokio::time::Instant;

use super::{
    DeltaArgs, DeltaMetrics,
    stream::StreamId,
    total::{Delta, Total},
};

/// The totals of all streams.
#[derive(Debug)]
pub(crate) struct Streams {
    by_id: HashMap<StreamId, Stream>,
    bytes: usize,
    limits: Limits,
    swept: Instant,
    metrics: DeltaMetrics,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    streams: usize,
    bytes: usize,
    age: Duration,
}

#[derive(Debug)]
struct Stream {
    /// Since when the total counts, nanoseconds since the Unix epoch.
    start: u64,
    total: Total,
    /// The deltas that were added last, oldest first: start and time.
    recent: VecDeque<(u64, u64)>,
    seen: Instant,
}

/// What became of a delta.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Added<P> {
    /// It is in the total, which goes out in its place.
    Counted(P),
    /// It was in the total already, as the client sends it again.
    Repeated(Option<P>),
    /// It is refused for good.
    Refused(Reason, &'static str),
}

/// Deltas by which a retry is known.
const RECENT: usize = 4;
/// How often old streams are looked for.
const SWEEP: Duration = Duration::from_secs(10);

// === impl Streams ===

impl Streams {
    pub(crate) fn new(args: &DeltaArgs, metrics: DeltaMetrics) -> Self {
        let limits = Limits {
            streams: args.max_streams,
            bytes: args.max_bytes,
            age: Duration::from_secs(args.max_age_seconds),
        };
        Self {
            by_id: HashMap::new(),
            bytes: 0,
            limits,
            swept: Instant::now(),
            metrics,
        }
    }

    /// Adds a delta to its stream. The rules are those of the Collector's
    /// deltatocumulative processor: what starts before the stream or does not end
    /// after its last point is refused, what overlaps it or leaves a gap is added.
    pub(crate) fn add<P: Delta>(&mut self, id: StreamId, delta: P, monotonic: bool) -> Added<P> {
        if let Some((reason, problem)) = delta.problem(monotonic) {
            return Added::Refused(reason, problem);
        }
        let now = Instant::now();
        let interval = (delta.start(), delta.time());
        let Some(stream) = self.by_id.get_mut(&id) else {
            if self.by_id.len() >= self.limits.streams || self.bytes >= self.limits.bytes {
                return Added::Refused(
                    Reason::DeltaStreamLimit,
                    "a new stream, and the gateway keeps as many totals as it may",
                );
            }
            let stream = Stream::new(&delta, now);
            let point = stream.point(delta);
            self.bytes += stream.bytes();
            self.by_id.insert(id, stream);
            self.metrics.started();
            return Added::Counted(point);
        };
        stream.seen = now;
        if stream.recent.contains(&interval) {
            let latest = stream.recent.back() == Some(&interval);
            return Added::Repeated(latest.then(|| stream.point(delta)));
        }
        let last = stream.recent.back().map_or(0, |(_, time)| *time);
        if interval.0 != 0 && interval.0 < stream.start {
            let problem = "a delta that starts before its stream";
            return Added::Refused(Reason::OutOfOrder, problem);
        }
        if interval.1 <= last {
            let problem = "a delta that does not end after the last one";
            return Added::Refused(Reason::OutOfOrder, problem);
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

    /// Forgets the streams that had no point for too long.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        if now - self.swept >= SWEEP {
            self.swept = now;
            let age = self.limits.age;
            self.keep(|_, stream| now - stream.seen <= age);
        }
    }

    /// Forgets the streams that belong to others by now: what they will have added
    /// would be missing, should the streams come back.
    pub(crate) fn keep_own(&mut self, owns: impl Fn(StreamId) -> bool) {
        self.keep(|id, _| owns(id));
    }

    pub(crate) fn show(&self) {
        self.metrics.kept(self.by_id.len(), self.bytes);
    }

    fn keep(&mut self, keep: impl Fn(StreamId, &Stream) -> bool) {
        let before = self.by_id.len();
        self.by_id.retain(|id, stream| keep(*id, stream));
        self.metrics.forgotten(before - self.by_id.len());
        self.bytes = self.by_id.values().map(Stream::bytes).sum();
    }
}

// === impl Stream ===

impl Stream {
    fn new<P: Delta>(delta: &P, now: Instant) -> Self {
        let start = match delta.start() {
            // Nothing is known of the time before the point.
            0 => delta.time(),
            start => start,
        };
        Self {
            start,
            total: delta.begin(),
            recent: VecDeque::from([(delta.start(), delta.time())]),
            seen: now,
        }
    }

    fn remember(&mut self, interval: (u64, u64)) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(interval);
    }

    fn point<P: Delta>(&self, delta: P) -> P {
        delta.cumulative(self.start, &self.total)
    }

    fn bytes(&self) -> usize {
        let entry = size_of::<StreamId>() + size_of::<Self>() + RECENT * size_of::<(u64, u64)>();
        entry + self.total.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
