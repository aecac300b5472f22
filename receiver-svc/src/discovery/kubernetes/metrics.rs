//! Metrics of the Kubernetes watches.

use mesh_kubernetes::FAILURE_REASONS;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Metrics of the watches of all clusters.
#[derive(Clone, Debug, Default)]
pub struct KubernetesMetrics {
    watches: Family<Resource, Gauge>,
    objects: Family<Resource, Gauge>,
    events: Family<Event, Counter>,
    failures: Family<Failure, Counter>,
    failing: Family<Resource, Gauge>,
}

/// Metrics of one watch. Subtracts its objects from the gauge when dropped.
#[derive(Debug)]
pub(super) struct WatchMetrics {
    metrics: KubernetesMetrics,
    resource: Resource,
    objects: i64,
    is_failing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    resource: String,
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    resource: String,
    reason: &'static str,
}

// === impl KubernetesMetrics ===

impl KubernetesMetrics {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "discovery_kubernetes_watches",
            "Running watches, shared by all jobs",
            self.watches.clone(),
        );
        registry.register(
            "discovery_kubernetes_objects",
            "Objects in the stores of the watches",
            self.objects.clone(),
        );
        registry.register(
            "discovery_kubernetes_events",
            "Events of the watches: complete lists, applied and deleted objects",
            self.events.clone(),
        );
        registry.register(
            "discovery_kubernetes_failures",
            "Failed list and watch requests; the last objects stay",
            self.failures.clone(),
        );
        registry.register(
            "discovery_kubernetes_failing_watches",
            "Watches whose last list or watch request failed",
            self.failing.clone(),
        );
    }

    pub(super) fn watch(&self, resource: &str) -> WatchMetrics {
        let resource = Resource {
            resource: resource.to_owned(),
        };
        self.watches.get_or_create(&resource).inc();
        // Shows the resource even if no watch of it ever fails.
        drop(self.failing.get_or_create(&resource));
        drop(self.objects.get_or_create(&resource));
        for event in ["listed", "applied", "deleted"] {
            let resource = resource.resource.clone();
            let _ = self.events.get_or_create(&Event { resource, event });
        }
        for reason in FAILURE_REASONS {
            let resource = resource.resource.clone();
            let _ = self.failures.get_or_create(&Failure { resource, reason });
        }
        WatchMetrics {
            metrics: self.clone(),
            resource,
            objects: 0,
            is_failing: false,
        }
    }
}

// === impl WatchMetrics ===

impl WatchMetrics {
    /// Counts an event (`listed`, `applied` or `deleted`) and updates the number of
    /// objects in the store.
    pub(super) fn event(&mut self, event: &'static str, objects: usize) {
        let resource = self.resource.resource.clone();
        self.metrics
            .events
            .get_or_create(&Event { resource, event })
            .inc();
        let change = objects as i64 - self.objects;
        self.objects = objects as i64;
        self.metrics
            .objects
            .get_or_create(&self.resource)
            .inc_by(change);
    }

    /// Counts a failed request. The watch is failing until [`Self::recovered`].
    pub(super) fn failed(&mut self, reason: &'static str) {
        let resource = self.resource.resource.clone();
        self.metrics
            .failures
            .get_or_create(&Failure { resource, reason })
            .inc();
        if !std::mem::replace(&mut self.is_failing, true) {
            self.metrics.failing.get_or_create(&self.resource).inc();
        }
    }

    /// Records that requests succeed again.
    pub(super) fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            self.metrics.failing.get_or_create(&self.resource).dec();
        }
    }
}

impl Drop for WatchMetrics {
    fn drop(&mut self) {
        self.recovered();
        self.metrics.watches.get_or_create(&self.resource).dec();
        self.metrics
            .objects
            .get_or_create(&self.resource)
            .dec_by(self.objects);
    }
}
