//! Metrics of the Kubernetes watches.

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
}

/// Metrics of one watch. Subtracts its objects from the gauge when dropped.
#[derive(Debug)]
pub(super) struct WatchMetrics {
    metrics: KubernetesMetrics,
    resource: Resource,
    objects: i64,
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
    }

    pub(super) fn watch(&self, resource: &str) -> WatchMetrics {
        let resource = Resource {
            resource: resource.to_owned(),
        };
        self.watches.get_or_create(&resource).inc();
        WatchMetrics {
            metrics: self.clone(),
            resource,
            objects: 0,
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

    pub(super) fn failed(&self, reason: &'static str) {
        let resource = self.resource.resource.clone();
        self.metrics
            .failures
            .get_or_create(&Failure { resource, reason })
            .inc();
    }
}

impl Drop for WatchMetrics {
    fn drop(&mut self) {
        self.metrics.watches.get_or_create(&self.resource).dec();
        self.metrics
            .objects
            .get_or_create(&self.resource)
            .dec_by(self.objects);
    }
}
