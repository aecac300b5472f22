//! What the intake counts.

use mesh::verdict::Verdict;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// What the intake counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct IntakeMetrics {
    points: Counter,
    rejected: Family<ByReason, Counter>,
    retried: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

// === impl IntakeMetrics ===

impl IntakeMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("data_points", "Data points taken in", self.points.clone());
        registry.register(
            "data_points_rejected",
            "Data points that clients were told are rejected for good",
            self.rejected.clone(),
        );
        registry.register(
            "retries_joined",
            "Resources pushed again while or after the first ones were delivered",
            self.retried.clone(),
        );
    }

    pub(super) fn taken(&self, points: u64) {
        self.points.inc_by(points);
    }

    pub(super) fn rejected(&self, verdict: &Verdict) {
        for &(reason, n) in &verdict.rejected {
            let reason = reason.as_str();
            self.rejected.get_or_create(&ByReason { reason }).inc_by(n);
        }
    }

    pub(super) fn retried(&self) {
        self.retried.inc();
    }
}
