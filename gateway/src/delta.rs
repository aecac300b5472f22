//! Converts delta temporality to cumulative.
//!
//! One gateway owns each stream and adds up its deltas. Rendezvous hashing over the
//! members selects the owner. A gateway that receives a point of another owner forwards
//! it, once. A total starts at the start time of its first delta. A new total after a
//! restart or a change of owner therefore looks like a counter reset.
//!
//! **A delta is counted once**, even if the client retries it: stream, start time and
//! end time identify it. Every later point of the stream includes a counted delta, so
//! a lost point costs resolution, not data. A rejected delta was not counted. The
//! total is lost with the gateway. The client then retries each delta without an
//! acknowledgement, and a new total counts it.
//!
//! ```text
//! point ─▶ stream ─▶ owner ─▶ this gateway: total ─▶ cumulative point
//!                          ─▶ a peer: Export with a hop marker ─▶ its total
//!                          ─▶ unsettled: the client retries
//! ```

mod args;
mod metrics;
mod owners;
mod peers;
mod point;
mod streams;
mod total;

use std::{collections::HashMap, sync::Arc};

use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, ResourceMetrics, metric::Data,
};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    export_result::ExportResult,
    heads,
    points::{self, is_delta},
    push_error::{PushError, RetryCause, RetryLater},
    resource_splitter::ResourceSplitter,
    stream::Prefix,
};
pub use args::{DeltaArgs, Mode};
pub(crate) use metrics::DeltaMetrics;
use owners::Owner;
pub(crate) use owners::Owners;
pub(crate) use peers::{HOP_KEY, Peers};
use point::DeltaPoint;
use streams::{Added, Streams};

/// Copies of a forwarded resource for each gateway: decoded and encoded.
const FORWARDED_COPIES: usize = 2;
const DELTA: i32 = AggregationTemporality::Delta as i32;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Adds up deltas into the totals of this gateway's streams. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DeltaAccumulator {
    mode: Mode,
    state: Arc<Mutex<State>>,
    metrics: DeltaMetrics,
}

#[derive(Debug)]
struct State {
    streams: Streams,
    owners: Owners,
}

/// Lock on the totals for one push.
///
/// The intake holds it until the batches are in the outbox, so that the points of a
/// stream enter the outbox in the order of its totals.
pub(crate) struct AccumulatorGuard<'a> {
    accumulator: &'a DeltaAccumulator,
    state: MutexGuard<'a, State>,
    /// Set if a peer forwarded the push, which then must not be forwarded again.
    from_peer: bool,
    /// Metrics to forward, by the address of the peer.
    forwarded: HashMap<Arc<str>, Vec<ResourceMetrics>>,
}

/// Points of one metric to forward, by the address of the peer.
type PeerPoints<P> = HashMap<Arc<str>, Vec<P>>;

// === impl DeltaAccumulator ===

impl DeltaAccumulator {
    pub(crate) fn new(args: &DeltaArgs, owners: Owners, metrics: DeltaMetrics) -> Self {
        let streams = Streams::new(args, metrics.clone());
        Self {
            mode: args.mode,
            state: Arc::new(Mutex::new(State { streams, owners })),
            metrics,
        }
    }

    /// Counts points that another gateway has accepted.
    pub(crate) fn passed_on(&self, points: u64) {
        self.metrics.points("passed_on", points);
    }

    /// Locks the totals for a push. Returns `None` if the push has no deltas.
    pub(crate) fn lock(
        &self,
        resources: &[ResourceMetrics],
        from_peer: bool,
    ) -> Option<AccumulatorGuard<'_>> {
        let scopes = resources.iter().flat_map(|r| &r.scope_metrics);
        if !scopes.flat_map(|scope| &scope.metrics).any(is_delta) {
            return None;
        }
        let mut state = self.state.lock();
        let State { streams, owners } = &mut *state;
        if owners.update() {
            streams.retain_owned(|stream| owners.owns(stream));
        }
        streams.sweep();
        Some(AccumulatorGuard {
            accumulator: self,
            state,
            from_peer,
            forwarded: HashMap::new(),
        })
    }
}

// === impl AccumulatorGuard ===

impl AccumulatorGuard<'_> {
    /// Converts the deltas of a resource to cumulative, and removes those to forward. `reserve`
    /// reserves the memory of what each gateway gets a copy of before it is copied.
    ///
    /// # Errors
    /// Returns an error if a stream has no settled owner, or the error of `reserve`.
    pub(crate) fn convert(
        &mut self,
        resource: &mut ResourceMetrics,
        result: &mut ExportResult,
        reserve: &mut impl FnMut(usize) -> Result<(), PushError>,
    ) -> Result<(), PushError> {
        let scopes = resource.scope_metrics.iter();
        if !scopes.flat_map(|scope| &scope.metrics).any(is_delta) {
            return Ok(());
        }
        let peers = match self.from_peer {
            true => 0,
            false => self.state.owners.peers(),
        };
        if peers > 0 {
            reserve(heads::bytes(resource).saturating_mul(FORWARDED_COPIES * peers))?;
        }
        let prefix = Prefix::of_resource(resource.resource.as_ref());
        let mut splitter = ResourceSplitter::new();
        for (i, scope) in resource.scope_metrics.iter_mut().enumerate() {
            let prefix = prefix.scope(scope.scope.as_ref());
            for metric in scope.metrics.iter_mut().filter(|metric| is_delta(metric)) {
                match self.accumulator.mode {
                    Mode::Cumulative => {
                        let prefix = prefix.metric(metric);
                        self.metric(metric, prefix, result, |peer, metric| {
                            splitter.add(peer, i, metric);
                        })?;
                    }
                    Mode::Refuse => reject(metric, result),
                }
            }
        }
        for (peer, resource) in splitter.finish(resource) {
            self.forwarded.entry(peer).or_default().push(resource);
        }
        Ok(())
    }

    /// Returns the resources to forward, by the address of the peer.
    pub(crate) fn finish(self) -> HashMap<Arc<str>, Vec<ResourceMetrics>> {
        self.state.streams.update_gauges();
        self.forwarded
    }

    fn metric(
        &mut self,
        metric: &mut Metric,
        prefix: Prefix,
        result: &mut ExportResult,
        mut forward: impl FnMut(Arc<str>, Metric),
    ) -> Result<(), RetryLater> {
        let mut data = metric.data.take();
        let name = &metric.name;
        let forwarded: Vec<(Arc<str>, Data)> = match &mut data {
            Some(Data::Sum(sum)) => {
                sum.aggregation_temporality = CUMULATIVE;
                let monotonic = sum.is_monotonic;
                let points = &mut sum.data_points;
                let forwarded = self.points(points, monotonic, prefix, name, result)?;
                let rebuilt = |points| {
                    let mut other = sum.clone();
                    other.data_points = points;
                    other.aggregation_temporality = DELTA;
                    Data::Sum(other)
                };
                rebuild(forwarded, rebuilt)
            }
            Some(Data::Histogram(data)) => {
                data.aggregation_temporality = CUMULATIVE;
                let forwarded = self.points(&mut data.data_points, true, prefix, name, result)?;
                rebuild(forwarded, |data_points| {
                    Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram {
                        data_points,
                        aggregation_temporality: DELTA,
                    })
                })
            }
            Some(Data::ExponentialHistogram(data)) => {
                data.aggregation_temporality = CUMULATIVE;
                let forwarded = self.points(&mut data.data_points, true, prefix, name, result)?;
                rebuild(forwarded, |data_points| {
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
        for (peer, data) in forwarded {
            let other = Metric {
                data: Some(data),
                name: metric.name.clone(),
                description: metric.description.clone(),
                unit: metric.unit.clone(),
                metadata: metric.metadata.clone(),
            };
            forward(peer, other);
        }
        Ok(())
    }

    fn points<P: DeltaPoint>(
        &mut self,
        points: &mut Vec<P>,
        monotonic: bool,
        prefix: Prefix,
        name: &str,
        result: &mut ExportResult,
    ) -> Result<PeerPoints<P>, RetryLater> {
        let mut forwarded = PeerPoints::new();
        let mut deltas = std::mem::take(points);
        deltas.sort_by_key(P::time);
        for delta in deltas {
            let stream = prefix.point(delta.attributes());
            match self.state.owners.of(stream) {
                Owner::This => {
                    let added = self.state.streams.add(stream, delta, monotonic);
                    points.extend(self.record(added, name, result));
                }
                Owner::Peer(peer) if !self.from_peer => {
                    forwarded.entry(peer).or_default().push(delta);
                }
                // The gateways do not agree on the owner yet.
                Owner::Peer(_) | Owner::Unsettled => {
                    return Err(RetryLater::new(RetryCause::Moving));
                }
            }
        }
        Ok(forwarded)
    }

    /// Counts the outcome. Returns the cumulative point to send, if any.
    fn record<P>(&self, added: Added<P>, name: &str, result: &mut ExportResult) -> Option<P> {
        let metrics = &self.accumulator.metrics;
        match added {
            Added::Counted(point) => {
                metrics.points("counted", 1);
                Some(point)
            }
            Added::Repeated(point) => {
                metrics.points("repeated", 1);
                point
            }
            Added::Rejected(reason, problem) => {
                metrics.points("refused", 1);
                result.reject(reason, 1, || format!("metric {name:?}: {problem}"));
                None
            }
        }
    }
}

fn reject(metric: &mut Metric, result: &mut ExportResult) {
    let points = points::count_of(metric) as u64;
    metric.data = None;
    let name = &metric.name;
    result.reject(Reason::Unsupported, points, || {
        format!("metric {name:?}: delta temporality, which --delta.mode=refuse rejects")
    });
}

fn rebuild<P>(forwarded: PeerPoints<P>, data: impl Fn(Vec<P>) -> Data) -> Vec<(Arc<str>, Data)> {
    let forwarded = forwarded.into_iter();
    forwarded
        .map(|(peer, points)| (peer, data(points)))
        .collect()
}
