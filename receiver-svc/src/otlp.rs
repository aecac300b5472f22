//! Encodes the samples of one scrape as OTLP, the payload of a batch.
//!
//! The encoding is valid OTLP that loses no sample (ARCHITECTURE.md, "Scraped
//! samples in OTLP"). Any OTLP reader sees gauges, sums, histograms and summaries.
//!
//! ```text
//! samples ─▶ grouping ─▶ plan: metrics with their encoded lengths ─▶ bytes
//!            lossless histograms and summaries become one data point each
//! ```
//!
//! The encoder writes the bytes by hand and copies the attributes that the scrape
//! cache has already encoded. The tests decode them with the types of
//! `opentelemetry-proto`.

use crate::samples::AppendedSamples;

mod classic;
mod exemplar;
mod group;
mod grouping;
mod metric;
mod native;
mod number;
mod plan;
mod resource;
mod summary;
mod time;

use bytes::Bytes;
use mesh_wire::protobuf;

pub use self::resource::Resource;

/// Key of the attribute that carries a native histogram that OTLP cannot express.
/// The value is an encoded remote-write `Histogram`.
pub const HISTOGRAM_ATTRIBUTE: &str = "promesh.histogram";

/// A part of a scrape that is small enough for one request.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// One encoded `ResourceMetrics`, framed as in an
    /// `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// Number of samples in the payload.
    pub samples: u64,
}

/// `ExportMetricsServiceRequest.resource_metrics`.
const RESOURCE_METRICS: u32 = 1;
/// `ResourceMetrics.resource` and `ResourceMetrics.scope_metrics`.
const RESOURCE: u32 = 1;
const SCOPE_METRICS: u32 = 2;
/// `ScopeMetrics.metrics`.
const METRICS: u32 = 2;

/// Encodes the samples of a scrape into parts of about `max_bytes` at most.
///
/// A part contains each series at most once, because a request may carry only one
/// timestamp for a series (law 2). The caller sends the parts in order.
pub fn encode(
    appended: &AppendedSamples<'_>,
    resource: &Resource,
    max_bytes: usize,
) -> Vec<Encoded> {
    let rounds = appended.samples.iter().map(|sample| sample.round + 1).max();
    let mut parts = Vec::new();
    for round in 0..rounds.unwrap_or(0) {
        let plan = plan::Plan::new(appended, round, max_bytes);
        for runs in plan.parts(max_bytes) {
            parts.push(encode_part(&plan, runs, resource));
        }
    }
    parts
}

fn encode_part(plan: &plan::Plan<'_>, runs: &[plan::MetricRun], resource: &Resource) -> Encoded {
    let metrics = runs
        .iter()
        .map(|run| protobuf::bytes_len(METRICS, plan.metric_len(run)));
    let scope: usize = metrics.sum();
    let len = protobuf::bytes_len(RESOURCE, resource.encoded().len())
        + protobuf::bytes_len(SCOPE_METRICS, scope);
    let framed = protobuf::bytes_len(RESOURCE_METRICS, len);
    let mut out = Vec::with_capacity(framed);
    protobuf::put_header(RESOURCE_METRICS, len, &mut out);
    protobuf::put_bytes(RESOURCE, resource.encoded(), &mut out);
    protobuf::put_header(SCOPE_METRICS, scope, &mut out);
    for run in runs {
        protobuf::put_header(METRICS, plan.metric_len(run), &mut out);
        plan.put_metric(run, &mut out);
    }
    debug_assert_eq!(
        out.len(),
        framed,
        "the planned length differs from the encoded length"
    );
    Encoded {
        payload: out.into(),
        samples: runs.iter().map(|run| run.samples).sum(),
    }
}
