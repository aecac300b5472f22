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
use mesh_wire::protobuf::{self, Fields};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
};
use prost::Message;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    decoded::Decoded,
    delta::{AccumulatorGuard, DeltaAccumulator, Peers},
    export_result::ExportResult,
    identity::{ConflictDetector, ResourceDefaults},
    points,
    push_error::{PushError, RetryCause, RetryLater},
};
pub use ack::Ack;
pub(crate) use metrics::IntakeMetrics;
use retry_cache::{PendingBatch, RetryCache};
use sequence::{BATCH_BYTES, Sequence};
pub(crate) use validator::Validator;

/// Puts pushes into the outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    outbox: Outbox,
    ack: Ack,
    stages: Stages,
    retries: RetryCache,
    context: Arc<BatchContext>,
    /// Maximum bytes of a batch, above which no exporter reads it.
    max_batch: usize,
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

/// Batches of one resource, in the order in which the backend must store them.
type BatchSequence = Vec<Batch>;

/// Field of an `ExportMetricsServiceRequest` with a `ResourceMetrics`.
const RESOURCE_METRICS: u32 = 1;
/// Field of a `ResourceMetrics` with its resource.
const RESOURCE: u32 = 1;

/// Points to forward to the gateway that owns their streams.
#[derive(Debug)]
struct ForwardedRequest {
    peer: Arc<str>,
    request: ExportMetricsServiceRequest,
    points: u64,
}

// === impl Intake ===

impl Intake {
    pub(crate) fn new(
        outbox: Outbox,
        ack: Ack,
        stages: Stages,
        max_batch: usize,
        metrics: IntakeMetrics,
    ) -> Self {
        Self {
            outbox,
            ack,
            stages,
            retries: RetryCache::default(),
            context: Arc::default(),
            max_batch,
            clock: Clock::system(),
            metrics,
        }
    }

    /// Puts a push into the outbox, either all of it or nothing. `reserve` reserves more
    /// memory for a push that has to be split.
    ///
    /// # Errors
    /// Returns an error if the outbox is full or closed, a stream has no settled owner, or
    /// too little memory is free.
    pub(crate) fn accept(
        &self,
        decoded: impl Into<Decoded>,
        source: &PushSource,
        reserve: &mut impl FnMut(usize) -> Result<(), PushError>,
    ) -> Result<AcceptedPush, PushError> {
        let now_ms = self.clock.now_ms();
        let stages = &self.stages;
        let Decoded {
            mut request,
            rejected,
            ..
        } = decoded.into();
        let resources = &mut request.resource_metrics;
        let mut points: u64 = resources.iter().map(points::count).sum();
        let mut result = ExportResult::default();
        for rejected in rejected {
            points += rejected.points;
            result.reject(rejected.reason, rejected.points, || {
                format!("metric {:?}: {}", rejected.metric, rejected.problem)
            });
        }
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
                deltas.convert(resource, &mut result, reserve)?;
            }
        }
        let sequences = resources.iter_mut().map(|resource| {
            let parts = Sequence::new(resource, reserve)?.into_parts();
            let parts = parts.filter(|part| points::count(part) > 0);
            parts.map(|part| self.batch(&part, now_ms)).collect()
        });
        let sequences = sequences.collect::<Result<Vec<BatchSequence>, PushError>>()?;
        drop(request);
        let batches = sequences.iter().flatten();
        let bytes = batches.map(|batch| batch.payload.len()).sum();
        if !self.outbox.has_room(bytes) {
            return Err(RetryLater::new(RetryCause::Outbox).into());
        }
        self.metrics.accepted(points);
        let mut pending = Vec::new();
        for sequence in sequences {
            self.push(sequence, &mut pending)?;
        }
        let forwarded = deltas.map(AccumulatorGuard::finish).into_iter().flatten();
        Ok(AcceptedPush {
            result,
            pending,
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
        let (peers, deltas) = (&self.stages.peers, &self.stages.deltas);
        let forwarded = forwarded.into_iter().map(|forwarded| async move {
            let ForwardedRequest {
                peer,
                request,
                points,
            } = forwarded;
            let verdict = peers.forward(peer, request, points, deadline).await?;
            deltas.passed_on(points);
            Ok::<_, RetryLater>(verdict)
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
                Some(Outcome::Expired(
                    Expiry::OutboxFull | Expiry::Unreadable | Expiry::DestinationRemoved,
                )) => {
                    return Err(RetryLater::new(RetryCause::Outbox));
                }
                Some(Outcome::Expired(Expiry::Poison)) => {
                    result.verdict.reject(Reason::Refused, samples);
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

    /// Pushes the batches of a resource into the outbox, except those that a retry finds
    /// there already. Adds them to `pending`, unless `--ack=accepted` makes their outcome
    /// irrelevant.
    fn push(
        &self,
        batches: BatchSequence,
        pending: &mut Vec<(u64, PendingBatch)>,
    ) -> Result<(), RetryLater> {
        let stopping = |_| RetryLater::new(RetryCause::Stopping);
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let waiter = self.outbox.waiter(first.key);
        for batch in batches {
            if self.ack == Ack::Accepted {
                self.outbox.push(batch).map_err(stopping)?;
                continue;
            }
            let samples = batch.samples;
            let payload = batch.payload.clone();
            let found = self.retries.find(&payload);
            if found.is_some() {
                self.metrics.retried();
            }
            let batch = match found {
                Some(found) => found,
                None => {
                    let outcome = self.outbox.push_for(batch, &waiter).map_err(stopping)?;
                    self.retries.insert(&payload, outcome, &waiter)
                }
            };
            pending.push((samples, batch));
        }
        Ok(())
    }

    /// Encodes a batch, without a copy.
    ///
    /// # Errors
    /// Returns [`PushError::TooLarge`] if no exporter reads a batch of that size.
    fn batch(&self, resource_metrics: &ResourceMetrics, now_ms: i64) -> Result<Batch, PushError> {
        let len = resource_metrics.encoded_len();
        let framed = protobuf::bytes_len(RESOURCE_METRICS, len);
        if framed > self.max_batch {
            return Err(PushError::TooLarge {
                limit: self.max_batch,
                stage: " as one request to an exporter (--exporter.max-message-bytes)",
            });
        }
        let mut payload = Vec::with_capacity(framed);
        protobuf::put_header(RESOURCE_METRICS, len, &mut payload);
        let start = payload.len();
        resource_metrics.encode_raw(&mut payload);
        let resource = Fields::new(&payload[start..]).next_with_number(RESOURCE);
        let resource = resource.ok().flatten();
        let key = xxh3_64(
            resource
                .and_then(|field| field.bytes().ok())
                .unwrap_or_default(),
        );
        Ok(Batch {
            key,
            payload: payload.into(),
            samples: points::count(resource_metrics),
            time_ms: now_ms,
            context: Arc::clone(&self.context),
        })
    }
}

// === impl AcceptedPush ===

impl AcceptedPush {
    /// Bytes that the push occupies besides its payload in the outbox.
    pub(crate) fn bytes(&self) -> usize {
        self.pending.len() * BATCH_BYTES
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
