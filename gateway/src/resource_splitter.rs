//! Splits a resource's metrics into parts, each with the resource and its scopes.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};

/// Splits a resource into parts by a key, such as the owning gateway.
#[derive(Debug)]
pub(crate) struct ResourceSplitter<K> {
    /// The resource and its scopes, without metrics.
    bare: ResourceMetrics,
    /// Metrics by part and by scope index.
    metrics: BTreeMap<K, BTreeMap<usize, Vec<Metric>>>,
}

// === impl ResourceSplitter ===

impl<K: Ord> ResourceSplitter<K> {
    /// Copies the resource and its scopes, without the metrics.
    pub(crate) fn new(resource: &ResourceMetrics) -> Self {
        let scopes = resource.scope_metrics.iter().map(|scope| ScopeMetrics {
            scope: scope.scope.clone(),
            metrics: Vec::new(),
            schema_url: scope.schema_url.clone(),
        });
        let bare = ResourceMetrics {
            resource: resource.resource.clone(),
            scope_metrics: scopes.collect(),
            schema_url: resource.schema_url.clone(),
        };
        let metrics = BTreeMap::new();
        Self { bare, metrics }
    }

    /// Adds a metric of scope number `scope` to a part.
    pub(crate) fn add(&mut self, part: K, scope: usize, metric: Metric) {
        let by_scope = self.metrics.entry(part).or_default();
        by_scope.entry(scope).or_default().push(metric);
    }

    /// Returns the parts in the order of their keys. Each part has only the scopes
    /// that it has metrics of.
    pub(crate) fn finish(self) -> impl Iterator<Item = (K, ResourceMetrics)> {
        let bare = self.bare;
        self.metrics.into_iter().map(move |(part, by_scope)| {
            let scopes = by_scope.into_iter().map(|(scope, metrics)| ScopeMetrics {
                metrics,
                ..bare.scope_metrics[scope].clone()
            });
            let resource = ResourceMetrics {
                resource: bare.resource.clone(),
                scope_metrics: scopes.collect(),
                schema_url: bare.schema_url.clone(),
            };
            (part, resource)
        })
    }
}
