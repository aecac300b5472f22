//! Delta temporality becomes cumulative.
//!
//! A stream's deltas are summed up by one gateway, found by rendezvous over all of
//! them; another one that gets a point passes it on, once. The total has the start
//! time of the first delta it holds, so that a new total, after a restart or a move,
//! is a counter that began anew and never a false one.
//!
//! **A delta is counted once**, whatever a client sends again: it is known by its
//! stream, start and time. Once it is counted, each later point of the stream holds
//! it, so that a point that is lost on its way costs resolution, not data. What is
//! refused was not counted. The total is lost with the gateway; a delta that was
//! counted and not answered for is then sent again to a new total.
//!
//! ```text
//! point ─▶ stream ─▶ owner ─▶ me: total ─▶ cumulative point
//!                          ─▶ other: Export with a hop marker ─▶ its total
//!                          ─▶ moving: come back
//! ```

mod args;
mod metrics;
mod owners;
mod peers;
pub(crate) mod skeleton;
pub(crate) mod stream;
mod streams;
mod total;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, ResourceMetrics, metric::Data,
};

use crate::{
    intake::Taken,
    points,
    refusal::{Busy, Cause},
};
pub use args::{DeltaArgs, Mode};
pub(crate) use metrics::DeltaMetrics;
use owners::Owner;
pub(crate) use owners::Owners;
pub(crate) use peers::{HOP_KEY, Peers};
use skeleton::Skeleton;
use stream::Prefix;
use streams::{Added, Streams};
use total::Delta;

const DELTA: i32 = AggregationTemporality::Delta as i32;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Sums up deltas. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Summing {
    mode: Mode,
    state: Arc<Mutex<State>>,
    metrics: DeltaMetrics,
}

#[derive(Debug)]
struct State {
    streams: Streams,
    owners: Owners,
}

/// The totals, held while a push is summed up and put into the outbox: the points of
/// a stream get there in the order of its totals.
pub(crate) struct Open<'a> {
    summing: &'a Summing,
    state: MutexGuard<'a, State>,
    /// A push that was passed on goes no further.
    passed_on: bool,
    /// What others sum, by their names.
    others: HashMap<Arc<str>, Vec<ResourceMetrics>>,
}

/// Points of one metric that others sum, by their names.
type Others<P> = HashMap<Arc<str>, Vec<P>>;

// === impl Summing ===

impl Summing {
    pub(crate) fn new(args: &DeltaArgs, owners: Owners, metrics: DeltaMetrics) -> Self {
        let streams = Streams::new(args, metrics.clone());
        Self {
            mode: args.mode,
            state: Arc::new(Mutex::new(State { streams, owners })),
            metrics,
        }
    }

    /// Begins with a push; `None` where it has no deltas.
    pub(crate) fn open(&self, resources: &[ResourceMetrics], passed_on: bool) -> Option<Open<'_>> {
        let scopes = resources.iter().flat_map(|r| &r.scope_metrics);
        if !scopes.flat_map(|scope| &scope.metrics).any(is_delta) {
            return None;
        }
        // No code that holds the lock can leave its state half changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { streams, owners } = &mut *state;
        if owners.update() {
            streams.keep_own(|stream| owners.owns(stream));
        }
        streams.sweep();
        Some(Open {
            summing: self,
            state,
            passed_on,
            others: HashMap::new(),
        })
    }
}

// === impl Open ===

impl Open<'_> {
    /// Makes the deltas of a resource cumulative and takes out what others sum.
    pub(crate) fn resource(
        &mut self,
        resource: &mut ResourceMetrics,
        taken: &mut Taken,
    ) -> Result<(), Busy> {
        let prefix = Prefix::of_resource(resource.resource.as_ref());
        let mut skeleton = Skeleton::new(resource);
        for (i, scope) in resource.scope_metrics.iter_mut().enumerate() {
            let prefix = prefix.scope(scope.scope.as_ref());
            for metric in scope.metrics.iter_mut().filter(|metric| is_delta(metric)) {
                match self.summing.mode {
                    Mode::Cumulative => {
                        let prefix = prefix.metric(metric);
                        self.metric(metric, prefix, taken, |peer, metric| {
                            skeleton.add(peer, i, metric);
                        })?;
                    }
                    Mode::Refuse => refuse(metric, taken),
                }
            }
        }
        for (peer, resource) in skeleton.finish() {
            self.others.entry(peer).or_default().push(resource);
        }
        Ok(())
    }

    /// What others sum, by their names.
    pub(crate) fn finish(self) -> HashMap<Arc<str>, Vec<ResourceMetrics>> {
        self.state.streams.show();
        self.others
    }

    fn metric(
        &mut self,
        metric: &mut Metric,
        prefix: Prefix,
        taken: &mut Taken,
        mut pass_on: impl FnMut(Arc<str>, Metric),
    ) -> Result<(), Busy> {
        let mut data = metric.data.take();
        let name = &metric.name;
        let others: Vec<(Arc<str>, Data)> = match &mut data {
            Some(Data::Sum(sum)) => {
                sum.aggregation_temporality = CUMULATIVE;
                let monotonic = sum.is_monotonic;
                let points = &mut sum.data_points;
                let others = self.points(points, monotonic, prefix, name, taken)?;
                let rebuilt = |points| {
                    let mut other = sum.clone();
                    other.data_points = points;
                    other.aggregation_temporality = DELTA;
                    Data::Sum(other)
                };
                rebuild(others, rebuilt)
            }
            Some(Data::Histogram(data)) => {
                data.aggregation_temporality = CUMULATIVE;
                let others = self.points(&mut data.data_points, true, prefix, name, taken)?;
                rebuild(others, |data_points| {
                    Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram {
                        data_points,
                        aggregation_temporality: DELTA,
                    })
                })
            }
            Some(Data::ExponentialHistogram(data)) => {
                data.aggregation_temporality = CUMULATIVE;
                let others = self.points(&mut data.data_points, true, prefix, name, taken)?;
                rebuild(others, |data_points| {
                    let data = opentelemetry_proto::tonic::metrics::v1::ExponentialHistogram {
                        data_points,
                        aggregation_temporality: DELTA,
                    };
                    Data::ExponentialHistogram(data)
                })
            }
            Some(Data::Gauge(_) | Data::Summary(_)) | None => Vec::new(),
        };
        metric.data = data;
        for (peer, data) in others {
            let other = Metric {
                data: Some(data),
                name: metric.name.clone(),
                description: metric.description.clone(),
                unit: metric.unit.clone(),
                metadata: metric.metadata.clone(),
            };
            pass_on(peer, other);
        }
        Ok(())
    }

    fn points<P: Delta>(
        &mut self,
        points: &mut Vec<P>,
        monotonic: bool,
        prefix: Prefix,
        name: &str,
        taken: &mut Taken,
    ) -> Result<Others<P>, Busy> {
        let mut others = Others::new();
        let mut deltas = std::mem::take(points);
        deltas.sort_by_key(P::time);
        for delta in deltas {
            let stream = prefix.point(delta.attributes());
            match self.state.owners.of(stream) {
                Owner::Me => {
                    let added = self.state.streams.add(stream, delta, monotonic);
                    points.extend(self.added(added, name, taken));
                }
                Owner::Other(peer) if !self.passed_on => {
                    self.summing.metrics.points("passed_on", 1);
                    others.entry(peer).or_default().push(delta);
                }
                // The gateways do not agree yet on whose it is.
                Owner::Other(_) | Owner::Nobody => return Err(Busy::new(Cause::Moving)),
            }
        }
        Ok(others)
    }

    /// The point that goes out for a delta, if one does.
    fn added<P>(&self, added: Added<P>, name: &str, taken: &mut Taken) -> Option<P> {
        let metrics = &self.summing.metrics;
        match added {
            Added::Counted(point) => {
                metrics.points("counted", 1);
                Some(point)
            }
            Added::Repeated(point) => {
                metrics.points("repeated", 1);
                point
            }
            Added::Refused(reason, problem) => {
                metrics.points("refused", 1);
                taken.reject(reason, 1, || format!("metric {name:?}: {problem}"));
                None
            }
        }
    }
}

pub(crate) fn is_delta(metric: &Metric) -> bool {
    let temporality = match &metric.data {
        Some(Data::Sum(data)) => data.aggregation_temporality,
        Some(Data::Histogram(data)) => data.aggregation_temporality,
        Some(Data::ExponentialHistogram(data)) => data.aggregation_temporality,
        Some(Data::Gauge(_) | Data::Summary(_)) | None => return false,
    };
    temporality == DELTA
}

fn refuse(metric: &mut Metric, taken: &mut Taken) {
    let points = points::count_of(metric) as u64;
    metric.data = None;
    let name = &metric.name;
    taken.reject(Reason::Unsupported, points, || {
        format!("metric {name:?}: delta temporality, which --delta.mode refuses")
    });
}

fn rebuild<P>(others: Others<P>, data: impl Fn(Vec<P>) -> Data) -> Vec<(Arc<str>, Data)> {
    let others = others.into_iter();
    others.map(|(peer, points)| (peer, data(points))).collect()
}
