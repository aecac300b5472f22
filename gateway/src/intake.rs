//! What happens to a push, whichever protocol it came by.

mod metrics;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use mesh::{
    batch::{Batch, Facts},
    clock::Clock,
    outbox::{Expiry, Outbox, Outcome},
    verdict::{Reason, Verdict},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    },
    metrics::v1::{Metric, ResourceMetrics, metric::Data},
};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::args::Ack;
pub(crate) use metrics::IntakeMetrics;

/// Takes pushes into the outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    outbox: Outbox,
    ack: Ack,
    facts: Arc<Facts>,
    clock: Clock,
    metrics: IntakeMetrics,
}

/// A push that the client should send again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Busy {
    pub(crate) why: &'static str,
    /// When to send it again.
    pub(crate) after: Duration,
}

// === impl Intake ===

impl Intake {
    pub(crate) fn new(outbox: Outbox, ack: Ack, metrics: IntakeMetrics) -> Self {
        Self {
            outbox,
            ack,
            facts: Arc::default(),
            clock: Clock::system(),
            metrics,
        }
    }

    pub(crate) fn metrics(&self) -> &IntakeMetrics {
        &self.metrics
    }

    /// Takes a push and answers for it.
    pub(crate) async fn take(
        &self,
        request: ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, Busy> {
        let resources = request.resource_metrics.iter();
        let batches: Vec<_> = resources
            .map(|resource| self.batch(resource))
            .filter(|batch| batch.samples > 0)
            .collect();
        let bytes = batches.iter().map(|batch| batch.payload.len()).sum();
        if !self.outbox.has_room(bytes) {
            return Err(Busy::new("the gateway's outbox is full", 5));
        }
        self.metrics
            .taken(batches.iter().map(|batch| batch.samples).sum());
        if self.ack == Ack::Accepted {
            for batch in batches {
                self.outbox.push(batch).map_err(|_| Busy::stopping())?;
            }
            return Ok(ExportMetricsServiceResponse::default());
        }
        let mut pushed = Vec::with_capacity(batches.len());
        for batch in batches {
            let samples = batch.samples;
            let told = self
                .outbox
                .push_and_tell(batch)
                .map_err(|_| Busy::stopping())?;
            pushed.push(async move { (samples, told.await) });
        }
        let mut verdict = Verdict::default();
        for (samples, outcome) in join_all(pushed).await {
            match outcome {
                Ok(Outcome::Judged(judged)) => verdict.merge(&judged),
                Ok(Outcome::Expired(Expiry::TooOld)) => verdict.reject(Reason::TooOld, samples),
                Ok(Outcome::Expired(Expiry::OutboxFull)) => {
                    return Err(Busy::new("the gateway's outbox is full", 5));
                }
                Err(_) => return Err(Busy::stopping()),
            }
        }
        self.metrics.rejected(&verdict);
        Ok(response(&verdict))
    }

    fn batch(&self, resource_metrics: &ResourceMetrics) -> Batch {
        let encoded = resource_metrics.encode_to_vec();
        let resource = resource_metrics.resource.as_ref();
        let key = xxh3_64(&resource.map(Message::encode_to_vec).unwrap_or_default());
        Batch {
            key,
            payload: Batch::frame(&encoded),
            samples: points(resource_metrics),
            time_ms: self.clock.now_ms(),
            facts: Arc::clone(&self.facts),
        }
    }
}

// === impl Busy ===

impl Busy {
    pub(crate) fn new(why: &'static str, seconds: u64) -> Self {
        let after = Duration::from_secs(seconds);
        Self { why, after }
    }

    fn stopping() -> Self {
        Self::new("the gateway is stopping", 1)
    }
}

/// A verdict in OTLP's words: nothing where all was taken.
fn response(verdict: &Verdict) -> ExportMetricsServiceResponse {
    let rejected = verdict.rejected_total();
    let partial_success = (rejected > 0).then(|| {
        let reasons: Vec<_> = verdict
            .rejected
            .iter()
            .map(|(reason, n)| format!("{n} {}", reason.as_str()))
            .collect();
        ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: format!("data points rejected for good: {}", reasons.join(", ")),
        }
    });
    ExportMetricsServiceResponse { partial_success }
}

/// How many data points there are.
fn points(resource_metrics: &ResourceMetrics) -> u64 {
    let scopes = resource_metrics.scope_metrics.iter();
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics.map(|metric| points_of(metric) as u64).sum()
}

fn points_of(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests;
