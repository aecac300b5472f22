//! What Exports count.

use std::time::Duration;

use mesh::batch::Origin;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tonic::Code;

/// The metrics of what comes in.
#[derive(Clone, Debug)]
pub struct Metrics {
    received: Family<OriginLabels, Counter>,
    exports: Family<CodeLabels, Counter>,
    duration: Histogram,
    bytes: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OriginLabels {
    origin: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

/// Seconds.
const DURATION_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            received: Family::default(),
            exports: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS),
            bytes: Gauge::default(),
        };
        registry.register(
            "samples_received",
            "Samples of Exports, in the unit of their sender's ledger; those sent again count again",
            metrics.received.clone(),
        );
        registry.register("exports", "Exports by gRPC status", metrics.exports.clone());
        registry.register_with_unit(
            "export_duration",
            "How long Exports took to answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register_with_unit(
            "ingest_in_flight",
            "Room that Exports under way take, of --ingest.max-bytes",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        metrics
    }

    /// Says how much room Exports under way take, in bytes.
    pub fn in_flight(&self, bytes: usize) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts an answered Export.
    pub fn answered(&self, code: Code, took: Duration) {
        let code = name(code);
        self.exports.get_or_create(&CodeLabels { code }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts what Exports held.
    pub fn received(&self, origin: Origin, units: u64) {
        let origin = match origin {
            Origin::Scrape => "scrape",
            Origin::Otlp => "otlp",
        };
        self.received
            .get_or_create(&OriginLabels { origin })
            .inc_by(units);
    }
}

/// The codes that an Export is answered with.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        _ => "OTHER",
    }
}
