//! What a receiver's outbox sends, noted on its way to the balancer, with what
//! came back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use mesh_contract::{
    export::{Export, ExportError},
    verdict::Verdict,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{NumberDataPoint, ResourceMetrics, metric::Data, number_data_point::Value},
};
use prost::Message;
use tokio::time::Instant;
use tower::Service;

use super::{targets::SCRAPES, world::now_ms};

/// A `Service<Export>` that notes what passes it.
#[derive(Clone, Debug)]
pub(super) struct Tap<S> {
    inner: S,
    journal: Journal,
}

/// All Exports of one life of a receiver. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<Sent>>>);

/// One Export. One that is repeated is one more.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) batches: Vec<Scraped>,
    pub(super) at_ms: i64,
    /// When it was answered or failed; when its deadline is until then.
    pub(super) ended_ms: i64,
    /// What came back, and when.
    pub(super) verdict: Option<(Verdict, i64)>,
}

/// What a scrape of one target became.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scraped {
    pub(super) instance: String,
    pub(super) time_ms: i64,
    /// Which of the target's scrapes it is; none where the target did not answer.
    pub(super) number: Option<u64>,
    pub(super) samples: u64,
}

// === impl Tap ===

impl<S> Tap<S> {
    pub(super) fn new(inner: S, journal: Journal) -> Self {
        Self { inner, journal }
    }
}

impl<S> Service<Export> for Tap<S>
where
    S: Service<Export, Response = Verdict, Error = ExportError>,
    S::Future: Send + 'static,
{
    type Response = Verdict;
    type Error = ExportError;
    type Future = BoxFuture<'static, Result<Verdict, ExportError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExportError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, export: Export) -> Self::Future {
        let place = self.journal.begin(&export);
        let journal = self.journal.clone();
        let answer = self.inner.call(export);
        async move {
            let answer = answer.await;
            journal.end(place, answer.as_ref().ok());
            answer
        }
        .boxed()
    }
}

// === impl Journal ===

impl Journal {
    /// All Exports so far.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.note().clone()
    }

    fn begin(&self, export: &Export) -> usize {
        let mut journal = self.note();
        journal.push(Sent {
            batches: batches(export),
            at_ms: now_ms(),
            ended_ms: now_ms() + (export.deadline - Instant::now()).as_millis() as i64,
            verdict: None,
        });
        journal.len() - 1
    }

    fn end(&self, place: usize, verdict: Option<&Verdict>) {
        let sent = &mut self.note()[place];
        sent.ended_ms = now_ms();
        sent.verdict = verdict.map(|verdict| (verdict.clone(), now_ms()));
    }

    fn note(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn batches(export: &Export) -> Vec<Scraped> {
    // What is not OTLP has no batches, so that the samples do not add up.
    let request = ExportMetricsServiceRequest::decode(export.payload.clone()).unwrap_or_default();
    let mut batches = BTreeMap::<(String, i64), Scraped>::new();
    for resource in &request.resource_metrics {
        for (name, point) in points(resource) {
            let key = (
                instance(resource, point),
                (point.time_unix_nano / 1_000_000) as i64,
            );
            let batch = batches.entry(key.clone()).or_insert_with(|| Scraped {
                instance: key.0,
                time_ms: key.1,
                ..Scraped::default()
            });
            batch.samples += 1;
            if name == SCRAPES {
                batch.number = number(point);
            }
        }
    }
    batches.into_values().collect()
}

/// The points of a resource; the targets have counters and gauges only.
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

/// Of a target's resource, or of a heartbeat, which has none.
fn instance(resource: &ResourceMetrics, point: &NumberDataPoint) -> String {
    let attributes = resource.resource.iter().flat_map(|r| &r.attributes);
    let of_resource = attributes.filter(|a| a.key == "service.instance.id");
    let of_point = point.attributes.iter().filter(|a| a.key == "instance");
    let mut instances = of_resource.chain(of_point);
    let value = instances.next().and_then(|a| a.value.clone()?.value);
    match value {
        Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

fn number(point: &NumberDataPoint) -> Option<u64> {
    match point.value? {
        Value::AsDouble(value) if value.is_finite() => Some(value as u64),
        _ => None,
    }
}
