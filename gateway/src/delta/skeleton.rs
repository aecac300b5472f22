//! A resource's metrics that others sum, each in the scope it came in.

use std::{collections::BTreeMap, sync::Arc};

use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};

/// What of a resource goes to which gateway.
#[derive(Debug)]
pub(super) struct Skeleton {
    /// The resource and its scopes, without metrics.
    bare: ResourceMetrics,
    /// Metrics by gateway and scope.
    metrics: BTreeMap<Arc<str>, BTreeMap<usize, Vec<Metric>>>,
}

// === impl Skeleton ===

impl Skeleton {
    pub(super) fn new(resource: &ResourceMetrics) -> Self {
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
    pub(super) fn add(&mut self, peer: Arc<str>, scope: usize, metric: Metric) {
        let of_peer = self.metrics.entry(peer).or_default();
        of_peer.entry(scope).or_default().push(metric);
    }

    /// The resource with the scopes and metrics that go to each gateway.
    pub(super) fn finish(self) -> impl Iterator<Item = (Arc<str>, ResourceMetrics)> {
        let bare = self.bare;
        self.metrics.into_iter().map(move |(peer, by_scope)| {
            let scopes = by_scope.into_iter().map(|(scope, metrics)| ScopeMetrics {
                metrics,
                ..bare.scope_metrics[scope].clone()
            });
            let resource = ResourceMetrics {
                resource: bare.resource.clone(),
                scope_metrics: scopes.collect(),
                schema_url: bare.schema_url.clone(),
            };
            (peer, resource)
        })
    }
}
