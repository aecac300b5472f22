//! Metrics of Export requests.

use std::time::Duration;

use mesh_contract::batch::Origin;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tonic::Code;

/// Metrics of Export requests.
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

/// Buckets of the Export duration in seconds.
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
        for code in CODES {
            let _ = metrics.exports.get_or_create(&CodeLabels { code });
        }
        for origin in ["scrape", "otlp"] {
            let _ = metrics.received.get_or_create(&OriginLabels { origin });
        }
        registry.register(
            "samples_received",
            "Samples in Exports, as the sender counts them; retries count again",
            metrics.received.clone(),
        );
        registry.register("exports", "Exports by gRPC status", metrics.exports.clone());
        registry.register_with_unit(
            "export_duration",
            "Duration of Exports",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register_with_unit(
            "ingest_in_flight",
            "Memory that Exports in flight use, limited by --ingest.max-bytes",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        metrics
    }

    /// Sets the memory that Exports in flight use, in bytes.
    pub fn set_in_flight_bytes(&self, bytes: usize) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts one Export by status code and observes its duration.
    pub fn record_reply(&self, code: Code, took: Duration) {
        let code = name(code);
        self.exports.get_or_create(&CodeLabels { code }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts one Export that was refused before its message was read.
    pub fn record_refusal(&self, code: Code) {
        let code = name(code);
        self.exports.get_or_create(&CodeLabels { code }).inc();
    }

    /// Counts the samples of an Export by origin.
    pub fn record_received(&self, origin: Origin, units: u64) {
        let origin = match origin {
            Origin::Scrape => "scrape",
            Origin::Otlp => "otlp",
        };
        self.received
            .get_or_create(&OriginLabels { origin })
            .inc_by(units);
    }
}

/// All values of [`name`].
const CODES: [&str; 7] = [
    "OK",
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "OTHER",
];

/// Metric label value of a gRPC status code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        _ => "OTHER",
    }
}
