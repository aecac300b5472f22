//! What is shown of handovers.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::state::State;

/// What is shown of handovers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HandoverMetrics {
    pending: Gauge,
    held: Gauge,
    kept: Gauge,
    orphans: Counter,
    ended: Family<Ended, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    reason: &'static str,
}

// === impl HandoverMetrics ===

impl HandoverMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "handover_targets_pending",
            "Targets that are not scraped yet as another receiver does, or may do so",
            metrics.pending.clone(),
        );
        registry.register(
            "handover_targets_held_back",
            "Targets whose samples wait until another receiver has delivered what is older",
            metrics.held.clone(),
        );
        registry.register(
            "handover_targets_kept",
            "Targets of other receivers that are scraped here until those claim them",
            metrics.kept.clone(),
        );
        registry.register(
            "handover_orphans",
            "Targets of other receivers that are scraped here as nobody did",
            metrics.orphans.clone(),
        );
        registry.register(
            "handover_ended",
            "Targets whose samples need not wait any more, by whether all others answered",
            metrics.ended.clone(),
        );
        metrics
    }

    pub(super) fn show(&self, state: &State) {
        self.pending.set(state.claims.pending().len() as i64);
        self.held.set(state.held() as i64);
        self.kept.set(state.wards.kept().len() as i64);
    }

    /// Nobody scraped so many targets of others.
    pub(super) fn orphans(&self, targets: usize) {
        self.orphans.inc_by(targets as u64);
    }

    /// A target's samples need not wait any more, though some may not have answered.
    pub(super) fn ended(&self, is_silent: bool) {
        let reason = if is_silent { "unreachable" } else { "settled" };
        self.ended.get_or_create(&Ended { reason }).inc();
    }
}
