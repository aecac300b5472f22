//! Metrics of delta conversion.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::args::DeltaArgs;

/// Metrics of delta conversion.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeltaMetrics {
    streams: Gauge,
    streams_limit: Gauge,
    bytes: Gauge,
    bytes_limit: Gauge,
    started: Counter,
    forgotten: Counter,
    points: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

// === impl DeltaMetrics ===

impl DeltaMetrics {
    pub(crate) fn register(registry: &mut Registry, args: &DeltaArgs) -> Self {
        let metrics = Self::default();
        let own = metrics.clone();
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for outcome in ["counted", "repeated", "passed_on", "refused"] {
            let _ = own.points.get_or_create(&Outcome { outcome });
        }
        own.streams_limit.set(gauge(args.max_streams));
        own.bytes_limit.set(gauge(args.max_bytes.in_memory()));
        for (name, help, gauge) in [
            ("delta_streams", "Streams with a total", own.streams),
            (
                "delta_streams_limit",
                "Maximum number of streams with a total",
                own.streams_limit,
            ),
            ("delta_bytes", "Memory of all totals", own.bytes),
            (
                "delta_bytes_limit",
                "Maximum memory of all totals",
                own.bytes_limit,
            ),
        ] {
            registry.register(name, help, gauge);
        }
        registry.register(
            "delta_streams_started",
            "Totals started, each with its own start time",
            own.started,
        );
        registry.register(
            "delta_streams_forgotten",
            "Totals evicted because of their age or because another gateway owns them",
            own.forgotten,
        );
        registry.register(
            "delta_points",
            "Data points of delta temporality by outcome: counted, repeated, passed_on \
             (accepted by another gateway; a push that its client sends again counts again) or refused (rejected)",
            own.points,
        );
        metrics
    }

    pub(super) fn started(&self) {
        self.started.inc();
    }

    pub(super) fn evicted(&self, streams: usize) {
        self.forgotten.inc_by(streams as u64);
    }

    pub(super) fn set_size(&self, streams: usize, bytes: usize) {
        self.streams.set(streams as i64);
        self.bytes.set(bytes as i64);
    }

    pub(super) fn points(&self, outcome: &'static str, points: u64) {
        self.points
            .get_or_create(&Outcome { outcome })
            .inc_by(points);
    }
}
