//! Metrics of the intake.

use mesh_contract::verdict::{Reason, Verdict};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Metrics of the intake.
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
        for reason in Reason::ALL.map(Reason::as_str) {
            let _ = self.rejected.get_or_create(&ByReason { reason });
        }
        registry.register(
            "data_points",
            "Data points of accepted pushes, including rejected points",
            self.points.clone(),
        );
        registry.register(
            "data_points_rejected",
            "Data points rejected permanently, as reported to clients",
            self.rejected.clone(),
        );
        registry.register(
            "retries_joined",
            "Retried resources that joined a pending or delivered batch",
            self.retried.clone(),
        );
    }

    pub(super) fn accepted(&self, points: u64) {
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
