//! Records the Exports of a receiver between its outbox and its balancer.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use mesh_contract::{
    export::{Export, ExportError},
    progress::DestinationProgress,
    report::{BatchOutcome, ExportResponse},
    verdict::Verdict,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::any_value,
    metrics::v1::{NumberDataPoint, ResourceMetrics, metric::Data, number_data_point::Value},
};
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{clock::now_ms, targets::SCRAPES};

/// All Exports of one receiver process. As a [`Layer`] it records those that pass. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ExportLog(Arc<Mutex<Vec<SentExport>>>);

/// A `Service<Export>` that records each Export and its verdict.
#[derive(Clone, Debug)]
pub(super) struct RecordExports<S> {
    inner: S,
    log: ExportLog,
}

/// One attempt to send a batch of an Export. A retry is another attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct SentExport {
    pub(super) batches: Vec<SentBatch>,
    pub(super) at_ms: i64,
    /// Time of the response or the failure; the deadline before that.
    pub(super) ended_ms: i64,
    /// Verdict and its time.
    pub(super) verdict: Option<(Verdict, i64)>,
    /// The only destination of the Export; all if `None`. The verdict is then that of the
    /// destination that stored least.
    pub(super) destination: Option<String>,
    /// Destinations that had the batch before, maybe from an earlier process. The exporter
    /// writes it to the others.
    pub(super) before: DestinationProgress,
    /// Destinations that have the batch, after a failure.
    pub(super) progress: DestinationProgress,
}

/// Samples of one scrape of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SentBatch {
    pub(super) instance: String,
    pub(super) time_ms: i64,
    /// Number of the scrape; `None` if the target did not answer.
    pub(super) number: Option<u64>,
    pub(super) samples: u64,
}

// === impl ExportLog ===

impl ExportLog {
    /// Returns the Exports so far that are for a destination, alone or with others.
    pub(super) fn exports_to(&self, destination: &str) -> Vec<SentExport> {
        let all = self.0.lock().clone().into_iter();
        let own = all.filter(|it| it.destination.as_deref().is_none_or(|it| it == destination));
        let own = own.filter(|it| !it.before.is_complete(destination));
        let own = own.map(|mut export| {
            if export.progress.is_complete(destination) {
                let samples = export.batches.iter().map(|batch| batch.samples).sum();
                let verdict = export.progress.verdict().clone().take(samples);
                export.verdict.get_or_insert((verdict, export.ended_ms));
            }
            export
        });
        own.collect()
    }

    /// Records an attempt at each batch of an Export, and returns their indices.
    fn begin(&self, export: &Export) -> Range<usize> {
        let mut exports = self.0.lock();
        let begin = exports.len();
        let payloads = export.batches.of(export.payload.clone()).into_iter();
        let mut before = export.progress.iter().map(DestinationProgress::decode);
        exports.extend(payloads.map(|payload| SentExport {
            before: before.next().unwrap_or_default(),
            batches: batches(payload),
            at_ms: now_ms(),
            ended_ms: now_ms() + (export.deadline - Instant::now()).as_millis() as i64,
            destination: export.destination.as_deref().map(str::to_owned),
            ..SentExport::default()
        }));
        begin..exports.len()
    }

    fn end(&self, indices: Range<usize>, response: &Result<ExportResponse, ExportError>) {
        let is_single = indices.len() == 1;
        let progress = match response {
            Ok(_) => Vec::new(),
            Err(error) => error.report().progress,
        };
        for (batch, export) in (0..).zip(&mut self.0.lock()[indices]) {
            export.ended_ms = now_ms();
            let outcome = response
                .as_ref()
                .ok()
                .map(|it| (it, it.batches.get(&batch)));
            let (verdict, progress) = match outcome {
                Some((response, None)) if is_single => (Some(response.verdict.clone()), None),
                Some((_, None)) => (Some(Verdict::default()), None),
                Some((_, Some(BatchOutcome::Verdict(verdict)))) => (Some(verdict.clone()), None),
                Some((_, Some(BatchOutcome::Retry(retry)))) => (None, Some(&retry.progress)),
                None => (None, progress.get(batch as usize)),
            };
            export.verdict = verdict.map(|verdict| (verdict, now_ms()));
            export.progress = progress
                .map(DestinationProgress::decode)
                .unwrap_or_default();
        }
    }
}

impl<S> Layer<S> for ExportLog {
    type Service = RecordExports<S>;

    fn layer(&self, inner: S) -> RecordExports<S> {
        RecordExports {
            inner,
            log: self.clone(),
        }
    }
}

// === impl RecordExports ===

impl<S> Service<Export> for RecordExports<S>
where
    S: Service<Export, Response = ExportResponse, Error = ExportError>,
    S::Future: Send + 'static,
{
    type Response = ExportResponse;
    type Error = ExportError;
    type Future = BoxFuture<'static, Result<ExportResponse, ExportError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExportError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, export: Export) -> Self::Future {
        let indices = self.log.begin(&export);
        let log = self.log.clone();
        let response = self.inner.call(export);
        async move {
            let response = response.await;
            log.end(indices, &response);
            response
        }
        .boxed()
    }
}

fn batches(payload: Bytes) -> Vec<SentBatch> {
    // An invalid payload yields no batches, so the judge reports its samples as unsent.
    let request = ExportMetricsServiceRequest::decode(payload).unwrap_or_default();
    let mut batches = BTreeMap::<(String, i64), SentBatch>::new();
    for resource in &request.resource_metrics {
        for (name, point) in points(resource) {
            let key = (
                instance(resource, point),
                (point.time_unix_nano / 1_000_000) as i64,
            );
            let batch = batches.entry(key.clone()).or_insert_with(|| SentBatch {
                instance: key.0,
                time_ms: key.1,
                ..SentBatch::default()
            });
            batch.samples += 1;
            if name == SCRAPES {
                batch.number = number(point);
            }
        }
    }
    batches.into_values().collect()
}

/// Data points of a resource. The targets have only counters and gauges.
fn points(resource: &ResourceMetrics) -> impl Iterator<Item = (&str, &NumberDataPoint)> {
    let metrics = resource.scope_metrics.iter().flat_map(|s| &s.metrics);
    metrics.flat_map(|metric| {
        let points: &[NumberDataPoint] = match &metric.data {
            Some(Data::Gauge(gauge)) => &gauge.data_points,
            Some(Data::Sum(sum)) => &sum.data_points,
            _ => &[],
        };
        points.iter().map(|point| (metric.name.as_str(), point))
    })
}

/// Instance of a target, from its resource, or of a heartbeat, from its data point.
fn instance(resource: &ResourceMetrics, point: &NumberDataPoint) -> String {
    let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
    let of_resource = attributes.filter(|a| a.key == "service.instance.id");
    let of_point = point.attributes.iter().filter(|a| a.key == "instance");
    let mut instances = of_resource.chain(of_point);
    let value = instances.next().and_then(|a| a.value.clone()?.value);
    match value {
        Some(any_value::Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

fn number(point: &NumberDataPoint) -> Option<u64> {
    match point.value? {
        Value::AsDouble(value) if value.is_finite() => Some(value as u64),
        _ => None,
    }
}
