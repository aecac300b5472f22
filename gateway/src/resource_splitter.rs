//! Splits a resource's metrics into parts, each with the resource and its scopes.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};

/// Splits a resource into parts by a key, such as the owning gateway.
#[derive(Debug)]
pub(crate) struct ResourceSplitter<K> {
    /// Metrics by part and by scope index.
    metrics: BTreeMap<K, BTreeMap<usize, Vec<Metric>>>,
}

// === impl ResourceSplitter ===

impl<K: Ord> ResourceSplitter<K> {
    /// Creates a splitter without parts.
    pub(crate) fn new() -> Self {
        let metrics = BTreeMap::new();
        Self { metrics }
    }

    /// Adds a metric of scope number `scope` to a part.
    pub(crate) fn add(&mut self, part: K, scope: usize, metric: Metric) {
        let by_scope = self.metrics.entry(part).or_default();
        by_scope.entry(scope).or_default().push(metric);
    }

    /// Returns the parts in the order of their keys. Each part has a copy of the resource, and
    /// of the scopes that it has metrics of.
    pub(crate) fn finish(
        self,
        resource: &ResourceMetrics,
    ) -> impl Iterator<Item = (K, ResourceMetrics)> {
        self.metrics.into_iter().map(move |(part, by_scope)| {
            let scopes = by_scope.into_iter().map(|(scope, metrics)| {
                let from = &resource.scope_metrics[scope];
                ScopeMetrics {
                    scope: from.scope.clone(),
                    metrics,
                    schema_url: from.schema_url.clone(),
                }
            });
            let resource = ResourceMetrics {
                resource: resource.resource.clone(),
                scope_metrics: scopes.collect(),
                schema_url: resource.schema_url.clone(),
            };
            (part, resource)
        })
    }
}
