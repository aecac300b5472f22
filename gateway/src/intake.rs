//! Validates a push, converts it and puts it into the outbox, for both protocols.
//!
//! ```text
//! validate ─▶ identity ─▶ delta to cumulative ─▶ batches ─▶ outbox ─▶ verdict ─▶ result
//!                                  └─▶ other gateways ─▶ verdict ──────────────────┘
//! ```
//!
//! Each resource becomes a batch, or several if its streams have more than one point.

mod ack;
mod metrics;
mod retry_cache;
mod sequence;
mod validator;

use std::{net::IpAddr, sync::Arc};

use futures::future::{join, join_all};
use mesh_base::clock::Clock;
use mesh_contract::{
    batch::{Batch, BatchContext},
    verdict::Reason,
};
use mesh_outbox::{Expiry, Outbox, Outcome};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
};
use prost::Message;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    delta::{AccumulatorGuard, DeltaAccumulator, Peers},
    export_result::ExportResult,
    identity::{ConflictDetector, ResourceDefaults},
    points,
    push_error::{RetryCause, RetryLater},
};
pub use ack::Ack;
pub(crate) use metrics::IntakeMetrics;
use retry_cache::{PendingBatch, RetryCache};
use sequence::into_sequence;
pub(crate) use validator::Validator;

/// Puts pushes into the outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    outbox: Outbox,
    ack: Ack,
    stages: Stages,
    retries: RetryCache,
    context: Arc<BatchContext>,
    clock: Clock,
    metrics: IntakeMetrics,
}

/// Stages that a push passes before the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Stages {
    pub(crate) validator: Validator,
    pub(crate) defaults: ResourceDefaults,
    pub(crate) conflicts: ConflictDetector,
    pub(crate) deltas: DeltaAccumulator,
    /// Clients of the other gateways.
    pub(crate) peers: Peers,
}

/// Sender of a push.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushSource {
    /// Address of the client, if known.
    pub(crate) client: Option<IpAddr>,
    /// Set if the sender is another gateway, which has filled in the defaults already.
    pub(crate) from_peer: bool,
}

/// A push in the outbox.
#[derive(Debug)]
pub(crate) struct AcceptedPush {
    /// Result so far.
    result: ExportResult,
    /// Batches in the outbox, each with its number of samples.
    pending: Vec<(u64, PendingBatch)>,
    /// Requests for other gateways.
    forwarded: Vec<ForwardedRequest>,
}

/// Points to forward to the gateway that owns their streams.
#[derive(Debug)]
struct ForwardedRequest {
    peer: Arc<str>,
    request: ExportMetricsServiceRequest,
    points: u64,
}

// === impl Intake ===

impl Intake {
    pub(crate) fn new(outbox: Outbox, ack: Ack, stages: Stages, metrics: IntakeMetrics) -> Self {
        Self {
            outbox,
            ack,
            stages,
            retries: RetryCache::default(),
            context: Arc::default(),
            clock: Clock::system(),
            metrics,
        }
    }

    /// Puts a push into the outbox, either all of it or nothing.
    ///
    /// # Errors
    /// Returns an error if the outbox is full or closed, or a stream has no settled owner.
    pub(crate) fn accept(
        &self,
        mut request: ExportMetricsServiceRequest,
        source: &PushSource,
    ) -> Result<AcceptedPush, RetryLater> {
        let now_ms = self.clock.now_ms();
        let stages = &self.stages;
        let resources = &mut request.resource_metrics;
        let points = resources.iter().map(points::count).sum();
        let mut result = ExportResult::default();
        // Locked until all batches are in the outbox, to preserve the order of totals.
        let mut deltas = stages.deltas.lock(resources, source.from_peer);
        for resource in resources.iter_mut() {
            let validator = stages.validator;
            validator.remove_invalid(resource, now_ms, &mut result);
            if !source.from_peer {
                stages.defaults.fill(resource, source.client);
                stages.conflicts.check(resource, source.client);
            }
            if let Some(deltas) = &mut deltas {
                deltas.convert(resource, &mut result)?;
            }
        }
        let batches: Vec<_> = resources
            .iter_mut()
            .flat_map(into_sequence)
            .map(|resource| self.batch(&resource, now_ms))
            .filter(|batch| batch.samples > 0)
            .collect();
        drop(request);
        let bytes = batches.iter().map(|batch| batch.payload.len()).sum();
        if !self.outbox.has_room(bytes) {
            return Err(RetryLater::new(RetryCause::Outbox));
        }
        self.metrics.accepted(points);
        let pending = batches.into_iter().map(|batch| self.push(batch));
        let pending = pending.collect::<Result<Vec<_>, RetryLater>>()?;
        let forwarded = deltas.map(AccumulatorGuard::finish).into_iter().flatten();
        Ok(AcceptedPush {
            result,
            pending: pending.into_iter().flatten().collect(),
            forwarded: forwarded.map(ForwardedRequest::new).collect(),
        })
    }

    /// Forwards what belongs to other gateways, and waits for the result of a push.
    ///
    /// # Errors
    /// Returns an error if the client must retry the push.
    pub(crate) async fn result(
        &self,
        accepted: AcceptedPush,
        deadline: Instant,
    ) -> Result<ExportResult, RetryLater> {
        let AcceptedPush {
            mut result,
            pending,
            forwarded,
        } = accepted;
        let peers = &self.stages.peers;
        let forwarded = forwarded.into_iter().map(|forwarded| async move {
            let ForwardedRequest {
                peer,
                request,
                points,
            } = forwarded;
            peers.forward(peer, request, points, deadline).await
        });
        let pending = pending
            .into_iter()
            .map(|(samples, pending)| async move { (samples, pending.outcome().await) });
        let (own, forwarded) = join(join_all(pending), join_all(forwarded)).await;
        for response in forwarded {
            result.merge(&response?);
        }
        for (samples, outcome) in own {
            match outcome {
                Some(Outcome::Verdict(verdict)) => result.merge(&verdict),
                Some(Outcome::Expired(Expiry::TooOld)) => {
                    result.verdict.reject(Reason::TooOld, samples);
                }
                Some(Outcome::Expired(Expiry::OutboxFull | Expiry::Unreadable)) => {
                    return Err(RetryLater::new(RetryCause::Outbox));
                }
                // This push joined an earlier one just as that one was withdrawn.
                Some(Outcome::Expired(Expiry::Withdrawn)) => {
                    return Err(RetryLater::new(RetryCause::Unanswered));
                }
                None => return Err(RetryLater::new(RetryCause::Stopping)),
            }
        }
        self.metrics.rejected(&result.verdict);
        Ok(result)
    }

    /// Pushes a batch into the outbox, unless a retry finds it there already. Returns
    /// `None` if `--ack=accepted` makes its outcome irrelevant.
    fn push(&self, batch: Batch) -> Result<Option<(u64, PendingBatch)>, RetryLater> {
        let stopping = |_| RetryLater::new(RetryCause::Stopping);
        if self.ack == Ack::Accepted {
            return self.outbox.push(batch).map(|()| None).map_err(stopping);
        }
        let samples = batch.samples;
        let payload = batch.payload.clone();
        if let Some(pending) = self.retries.find(&payload) {
            self.metrics.retried();
            return Ok(Some((samples, pending)));
        }
        let (outcome, waiter) = self.outbox.push_with_waiter(batch).map_err(stopping)?;
        let pending = self.retries.insert(&payload, outcome, waiter);
        Ok(Some((samples, pending)))
    }

    fn batch(&self, resource_metrics: &ResourceMetrics, now_ms: i64) -> Batch {
        let encoded = resource_metrics.encode_to_vec();
        let resource = resource_metrics.resource.as_ref();
        let key = xxh3_64(&resource.map(Message::encode_to_vec).unwrap_or_default());
        Batch {
            key,
            payload: Batch::frame(&encoded),
            samples: points::count(resource_metrics),
            time_ms: now_ms,
            context: Arc::clone(&self.context),
        }
    }
}

// === impl ForwardedRequest ===

impl ForwardedRequest {
    fn new((peer, resource_metrics): (Arc<str>, Vec<ResourceMetrics>)) -> Self {
        Self {
            peer,
            points: resource_metrics.iter().map(points::count).sum(),
            request: ExportMetricsServiceRequest { resource_metrics },
        }
    }
}

#[cfg(test)]
mod tests;
