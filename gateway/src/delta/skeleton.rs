//! A resource's metrics in several parts, each in the scope it came in.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};

/// What of a resource belongs to which part: to which gateway, for instance.
#[derive(Debug)]
pub(crate) struct Skeleton<K> {
    /// The resource and its scopes, without metrics.
    bare: ResourceMetrics,
    /// Metrics by part and scope.
    metrics: BTreeMap<K, BTreeMap<usize, Vec<Metric>>>,
}

// === impl Skeleton ===

impl<K: Ord> Skeleton<K> {
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

    /// Adds a metric of the scope of this number.
    pub(crate) fn add(&mut self, part: K, scope: usize, metric: Metric) {
        let of_part = self.metrics.entry(part).or_default();
        of_part.entry(scope).or_default().push(metric);
    }

    /// The resource with the scopes and metrics of each part, in the order of these.
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
