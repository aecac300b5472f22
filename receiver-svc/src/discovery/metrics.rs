//! Metrics of service discovery.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Jobs, kubernetes::KubernetesMetrics};

/// Metrics of all discovery mechanisms.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryMetrics {
    targets: Family<Job, Gauge>,
    updates: Counter,
    failures: Family<Mechanism, Counter>,
    pub(super) kubernetes: KubernetesMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Job {
    job: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mechanism {
    mechanism: &'static str,
}

// === impl DiscoveryMetrics ===

impl DiscoveryMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "discovery_targets",
            "Discovered targets of each job, before relabeling",
            self.targets.clone(),
        );
        registry.register(
            "discovery_updates",
            "Publications of changed target groups",
            self.updates.clone(),
        );
        registry.register(
            "discovery_failures",
            "Failed refreshes; the targets of the last successful refresh stay",
            self.failures.clone(),
        );
        self.kubernetes.register(registry);
    }

    pub(super) fn observe(&self, jobs: &Jobs) {
        self.updates.inc();
        self.targets.clear();
        for (job, groups) in jobs {
            let targets: usize = groups.iter().map(|group| group.targets.len()).sum();
            let job = Job { job: job.clone() };
            self.targets.get_or_create(&job).set(targets as i64);
        }
    }

    pub(super) fn failed(&self, mechanism: &'static str) {
        self.failures.get_or_create(&Mechanism { mechanism }).inc();
    }
}
