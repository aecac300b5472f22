//! Metrics of the handover.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tonic::{Code, Status};

/// Metrics of the handover. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HandoverMetrics {
    pending: Gauge,
    held_back: Gauge,
    retained: Gauge,
    orphans: Counter,
    released: Family<ReleaseLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
}

/// Number of targets in each state.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetCounts {
    pub(super) pending: usize,
    pub(super) held_back: usize,
    pub(super) retained: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReleaseLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: String,
}

/// Codes with which a receiver refuses requests of its peers.
const REFUSAL_CODES: [Code; 7] = [
    Code::DeadlineExceeded,
    Code::Internal,
    Code::InvalidArgument,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::Unavailable,
    Code::Unimplemented,
];

// === impl HandoverMetrics ===

impl HandoverMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in ["settled", "unreachable"] {
            let _ = metrics.released.get_or_create(&ReleaseLabels { reason });
        }
        for code in REFUSAL_CODES {
            let code = format!("{code:?}");
            let _ = metrics.refused.get_or_create(&RefusalLabels { code });
        }
        registry.register(
            "handover_targets_pending",
            "Targets that this receiver has claimed and does not scrape yet, because another \
             receiver scrapes them or may scrape them",
            metrics.pending.clone(),
        );
        registry.register(
            "handover_targets_held_back",
            "Targets whose samples are held back until another receiver has delivered older ones",
            metrics.held_back.clone(),
        );
        registry.register(
            "handover_targets_retained",
            "Targets of other receivers that this receiver scrapes until their owner claims them",
            metrics.retained.clone(),
        );
        registry.register(
            "handover_orphans",
            "Targets of other receivers that this receiver took over because nobody scraped them",
            metrics.orphans.clone(),
        );
        registry.register(
            "handover_releases",
            "Targets whose samples are no longer held back, by reason: settled (all receivers \
             answered) or unreachable (at least one did not)",
            metrics.released.clone(),
        );
        registry.register(
            "handover_requests_refused",
            "Requests of peers that this receiver has refused, by gRPC code",
            metrics.refused.clone(),
        );
        metrics
    }

    /// Counts a request that was refused.
    pub(super) fn count_refusal(&self, status: &Status) {
        let code = format!("{:?}", status.code());
        self.refused.get_or_create(&RefusalLabels { code }).inc();
    }

    pub(super) fn set_targets(&self, targets: TargetCounts) {
        self.pending.set(targets.pending as i64);
        self.held_back.set(targets.held_back as i64);
        self.retained.set(targets.retained as i64);
    }

    /// Counts targets that nobody scraped and that this receiver took over.
    pub(super) fn count_orphans(&self, targets: usize) {
        self.orphans.inc_by(targets as u64);
    }

    /// Counts a target whose samples are no longer held back.
    pub(super) fn count_release(&self, has_silent_peers: bool) {
        let reason = if has_silent_peers {
            "unreachable"
        } else {
            "settled"
        };
        self.released.get_or_create(&ReleaseLabels { reason }).inc();
    }
}
