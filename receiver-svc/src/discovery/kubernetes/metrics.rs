//! What watching counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What the watches of all clusters count.
#[derive(Clone, Debug, Default)]
pub struct KubernetesMetrics {
    watches: Family<Resource, Gauge>,
    objects: Family<Resource, Gauge>,
    events: Family<Event, Counter>,
    failures: Family<Failure, Counter>,
}

/// What one watch counts. The objects it holds are taken back when it ends.
#[derive(Debug)]
pub(super) struct WatchMetrics {
    all: KubernetesMetrics,
    resource: Resource,
    held: i64,
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
            "Watches that run, shared by all jobs",
            self.watches.clone(),
        );
        registry.register(
            "discovery_kubernetes_objects",
            "Objects that watches hold",
            self.objects.clone(),
        );
        registry.register(
            "discovery_kubernetes_events",
            "Changes of objects that watches told, and whole lists",
            self.events.clone(),
        );
        registry.register(
            "discovery_kubernetes_failures",
            "Lists and watches that failed; what was known before stays",
            self.failures.clone(),
        );
    }

    pub(super) fn watch(&self, resource: &str) -> WatchMetrics {
        let resource = Resource {
            resource: resource.to_owned(),
        };
        self.watches.get_or_create(&resource).inc();
        WatchMetrics {
            all: self.clone(),
            resource,
            held: 0,
        }
    }
}

// === impl WatchMetrics ===

impl WatchMetrics {
    /// Something was told: `listed`, `applied` or `deleted`. So many objects are
    /// held now.
    pub(super) fn event(&mut self, event: &'static str, held: usize) {
        let resource = self.resource.resource.clone();
        self.all
            .events
            .get_or_create(&Event { resource, event })
            .inc();
        let change = held as i64 - self.held;
        self.held = held as i64;
        self.all
            .objects
            .get_or_create(&self.resource)
            .inc_by(change);
    }

    pub(super) fn failed(&self, reason: &'static str) {
        let resource = self.resource.resource.clone();
        self.all
            .failures
            .get_or_create(&Failure { resource, reason })
            .inc();
    }
}

impl Drop for WatchMetrics {
    fn drop(&mut self) {
        self.all.watches.get_or_create(&self.resource).dec();
        self.all
            .objects
            .get_or_create(&self.resource)
            .dec_by(self.held);
    }
}
