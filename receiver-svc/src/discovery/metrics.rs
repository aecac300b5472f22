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
    unreadable_files: Gauge,
    max_list_bytes: Gauge,
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

/// Number of unreadable target files of one mechanism. Subtracts it from the gauge when dropped.
#[derive(Debug)]
pub(super) struct UnreadableFiles {
    all: Gauge,
    own: i64,
}

/// Mechanisms that can fail, as metric label values.
const MECHANISMS: [&str; 7] = ["dns", "ec2", "ecs", "file", "http", "kubernetes", "msk"];

// === impl DiscoveryMetrics ===

impl DiscoveryMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        for mechanism in MECHANISMS {
            let _ = self.failures.get_or_create(&Mechanism { mechanism });
        }
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
            "Failed refreshes by mechanism; the targets of the last successful refresh stay",
            self.failures.clone(),
        );
        registry.register(
            "discovery_unreadable_files",
            "Target files that could not be read or parsed at their last refresh",
            self.unreadable_files.clone(),
        );
        registry.register(
            "discovery_max_list_bytes",
            "Maximum size of a target file or an HTTP target list in bytes",
            self.max_list_bytes.clone(),
        );
        self.kubernetes.register(registry);
    }

    pub(super) fn set_max_list_bytes(&self, bytes: usize) {
        self.max_list_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Unreadable target files of one mechanism.
    pub(super) fn unreadable_files(&self) -> UnreadableFiles {
        UnreadableFiles {
            all: self.unreadable_files.clone(),
            own: 0,
        }
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

// === impl UnreadableFiles ===

impl UnreadableFiles {
    pub(super) fn set(&mut self, files: usize) {
        let files = files as i64;
        self.all.inc_by(files - self.own);
        self.own = files;
    }
}

impl Drop for UnreadableFiles {
    fn drop(&mut self) {
        self.set(0);
    }
}
