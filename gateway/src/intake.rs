//! What happens to a push, whichever protocol it came by.
//!
//! ```text
//! screen ─▶ identity ─▶ sum up deltas ─▶ batches ─▶ outbox ─▶ verdict ─▶ answer
//!                              └─▶ other gateways ─▶ verdict ─────────────┘
//! ```
//!
//! Each resource is a batch, or several where its streams have more than one point.

mod metrics;
mod retries;
mod rounds;
mod screen;
mod taken;

use std::{net::IpAddr, sync::Arc};

use futures::future::{join, join_all};
use mesh::{
    batch::{Batch, Facts},
    clock::Clock,
    outbox::{Expiry, Outbox, Outcome},
    verdict::Reason,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics,
};
use prost::Message;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    args::Ack,
    delta::{Open, Peers, Summing},
    identity::{Identity, Writers},
    points,
    refusal::{Busy, Cause},
};
pub(crate) use metrics::IntakeMetrics;
use retries::{Retries, Waiting};
use rounds::rounds;
pub(crate) use screen::Screen;
pub(crate) use taken::Taken;

/// Takes pushes into the outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    outbox: Outbox,
    ack: Ack,
    stages: Stages,
    retries: Retries,
    facts: Arc<Facts>,
    clock: Clock,
    metrics: IntakeMetrics,
}

/// What a push goes through on its way to the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Stages {
    pub(crate) screen: Screen,
    pub(crate) identity: Identity,
    pub(crate) writers: Writers,
    pub(crate) summing: Summing,
    /// The other gateways.
    pub(crate) peers: Peers,
}

/// What a push has beside its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    /// Where it comes from, where that is known.
    pub(crate) client: Option<IpAddr>,
    /// Another gateway has passed it on, and has completed it.
    pub(crate) passed_on: bool,
}

/// A push in the outbox.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// What is known of it already.
    taken: Taken,
    /// Its batches: samples, and what will become of them.
    waiting: Vec<(u64, Waiting)>,
    /// What other gateways sum.
    others: Vec<Other>,
}

/// Points that another gateway sums.
#[derive(Debug)]
struct Other {
    name: Arc<str>,
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
            retries: Retries::default(),
            facts: Arc::default(),
            clock: Clock::system(),
            metrics,
        }
    }

    /// Takes a push into the outbox: all of it or nothing.
    pub(crate) fn accept(
        &self,
        mut request: ExportMetricsServiceRequest,
        push: &Push,
    ) -> Result<Accepted, Busy> {
        let now_ms = self.clock.now_ms();
        let stages = &self.stages;
        let resources = &mut request.resource_metrics;
        let points = resources.iter().map(points::count).sum();
        let mut taken = Taken::default();
        // Held until all is in the outbox.
        let mut open = stages.summing.open(resources, push.passed_on);
        for resource in resources.iter_mut() {
            stages.screen.screen(resource, now_ms, &mut taken);
            if !push.passed_on {
                stages.identity.complete(resource, push.client);
                stages.writers.watch(resource, push.client);
            }
            if let Some(open) = &mut open {
                open.resource(resource, &mut taken)?;
            }
        }
        let batches: Vec<_> = resources
            .iter_mut()
            .flat_map(rounds)
            .map(|resource| self.batch(&resource, now_ms))
            .filter(|batch| batch.samples > 0)
            .collect();
        drop(request);
        let bytes = batches.iter().map(|batch| batch.payload.len()).sum();
        if !self.outbox.has_room(bytes) {
            return Err(Busy::new(Cause::Outbox));
        }
        self.metrics.taken(points);
        let waiting = batches.into_iter().map(|batch| self.push(batch));
        let waiting = waiting.collect::<Result<Vec<_>, Busy>>()?;
        let others = open.map(Open::finish).into_iter().flatten();
        Ok(Accepted {
            taken,
            waiting: waiting.into_iter().flatten().collect(),
            others: others.map(Other::new).collect(),
        })
    }

    /// Waits for what becomes of a push.
    pub(crate) async fn answer(
        &self,
        accepted: Accepted,
        deadline: Instant,
    ) -> Result<Taken, Busy> {
        let Accepted {
            mut taken,
            waiting,
            others,
        } = accepted;
        let peers = &self.stages.peers;
        let others = others.into_iter().map(|other| async move {
            let Other {
                name,
                request,
                points,
            } = other;
            peers.pass_on(name, request, points, deadline).await
        });
        let waiting = waiting
            .into_iter()
            .map(|(samples, waiting)| async move { (samples, waiting.told().await) });
        let (own, others) = join(join_all(waiting), join_all(others)).await;
        for other in others {
            let (verdict, words) = other?;
            taken.merge(&verdict, words);
        }
        for (samples, outcome) in own {
            match outcome {
                Some(Outcome::Judged(judged)) => taken.verdict.merge(&judged),
                Some(Outcome::Expired(Expiry::TooOld)) => {
                    taken.verdict.reject(Reason::TooOld, samples);
                }
                Some(Outcome::Expired(Expiry::OutboxFull | Expiry::Unreadable)) => {
                    return Err(Busy::new(Cause::Outbox));
                }
                // It was withdrawn for another push of the same, as this one came.
                Some(Outcome::Expired(Expiry::Withdrawn)) => {
                    return Err(Busy::new(Cause::Unanswered));
                }
                None => return Err(Busy::new(Cause::Stopping)),
            }
        }
        self.metrics.rejected(&taken.verdict);
        Ok(taken)
    }

    /// Pushes a batch, unless it is there already: a client that did not wait for
    /// the answer sends the same again. `None` where nobody waits for what becomes
    /// of it.
    fn push(&self, batch: Batch) -> Result<Option<(u64, Waiting)>, Busy> {
        let stopping = |_| Busy::new(Cause::Stopping);
        if self.ack == Ack::Accepted {
            return self.outbox.push(batch).map(|()| None).map_err(stopping);
        }
        let samples = batch.samples;
        let payload = batch.payload.clone();
        if let Some(waiting) = self.retries.find(&payload) {
            self.metrics.retried();
            return Ok(Some((samples, waiting)));
        }
        let (told, waiter) = self.outbox.push_for(batch).map_err(stopping)?;
        let waiting = self.retries.remember(&payload, told, waiter);
        Ok(Some((samples, waiting)))
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
            facts: Arc::clone(&self.facts),
        }
    }
}

// === impl Other ===

impl Other {
    fn new((name, resource_metrics): (Arc<str>, Vec<ResourceMetrics>)) -> Self {
        Self {
            name,
            points: resource_metrics.iter().map(points::count).sum(),
            request: ExportMetricsServiceRequest { resource_metrics },
        }
    }
}

#[cfg(test)]
mod tests;
