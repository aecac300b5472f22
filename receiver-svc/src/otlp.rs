//! One scrape as OTLP: what a batch carries.
//!
//! The form is the mesh's own contract (ARCHITECTURE.md, "Scraped samples in
//! OTLP") within stock OTLP: nothing of what was appended is lost, and stock
//! readers see gauges, sums, histograms and summaries.
//!
//! ```text
//! samples ─▶ grouping ─▶ plan: runs of points with their length ─▶ bytes
//!            regular histograms and summaries become one point each
//! ```
//!
//! The bytes are written by hand, straight from the cache's encoded attributes.
//! The tests hold them against a plain reader in `opentelemetry-proto`'s types.

use crate::scrape::Appended;

pub(crate) mod attributes;
mod classic;
mod exemplar;
mod grouping;
mod metric;
mod native;
mod number;
mod plan;
mod resource;
mod summary;
mod time;

use bytes::Bytes;
use mesh::wire;

pub use self::resource::Resource;

/// The attribute that carries a native histogram that OTLP cannot express, as an
/// encoded remote-write `Histogram`.
pub const HISTOGRAM_ATTRIBUTE: &str = "promesh.histogram";

/// A part of a scrape that fits a request.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// One encoded `ResourceMetrics`, framed as in an
    /// `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// How many samples it holds.
    pub samples: u64,
}

/// `ExportMetricsServiceRequest.resource_metrics`.
const RESOURCE_METRICS: u32 = 1;
/// `ResourceMetrics.resource` and `ResourceMetrics.scope_metrics`.
const RESOURCE: u32 = 1;
const SCOPE_METRICS: u32 = 2;
/// `ScopeMetrics.metrics`.
const METRICS: u32 = 2;

/// Encodes the samples of a scrape, in parts of at most about `max_bytes`.
///
/// No series is twice in one part, and parts are to be sent in their order: each
/// is a request of its own in which a series has one time only (law 2).
pub fn encode(appended: &Appended<'_>, resource: &Resource, max_bytes: usize) -> Vec<Encoded> {
    let rounds = appended.samples.iter().map(|sample| sample.round + 1).max();
    let mut parts = Vec::new();
    for round in 0..rounds.unwrap_or(0) {
        let plan = plan::Plan::new(appended, round, max_bytes);
        for runs in plan.parts(max_bytes) {
            parts.push(part(&plan, runs, resource));
        }
    }
    parts
}

fn part(plan: &plan::Plan<'_>, runs: &[plan::Run], resource: &Resource) -> Encoded {
    let metrics = runs
        .iter()
        .map(|run| wire::bytes_len(METRICS, plan.metric_len(run)));
    let scope: usize = metrics.sum();
    let len =
        wire::bytes_len(RESOURCE, resource.encoded().len()) + wire::bytes_len(SCOPE_METRICS, scope);
    let framed = wire::bytes_len(RESOURCE_METRICS, len);
    let mut out = Vec::with_capacity(framed);
    wire::put_header(RESOURCE_METRICS, len, &mut out);
    wire::put_bytes(RESOURCE, resource.encoded(), &mut out);
    wire::put_header(SCOPE_METRICS, scope, &mut out);
    for run in runs {
        wire::put_header(METRICS, plan.metric_len(run), &mut out);
        plan.put_metric(run, &mut out);
    }
    debug_assert_eq!(
        out.len(),
        framed,
        "a length was not that of what was written"
    );
    Encoded {
        payload: out.into(),
        samples: runs.iter().map(|run| run.samples).sum(),
    }
}
