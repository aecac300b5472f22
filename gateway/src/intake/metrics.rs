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
    requests: Family<Request, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    protocol: &'static str,
    answer: String,
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
            "requests",
            "Pushes by protocol and the status that was answered",
            self.requests.clone(),
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

    /// Counts an answer: a gRPC code's name or an HTTP status.
    pub(crate) fn answered(&self, protocol: &'static str, answer: impl ToString) {
        let answer = answer.to_string();
        self.requests
            .get_or_create(&Request { protocol, answer })
            .inc();
    }
}
