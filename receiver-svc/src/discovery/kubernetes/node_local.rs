//! Restricts targets to one node, for a receiver that runs on every node.
//!
//! The API server filters pods by node. It cannot filter endpoints, so this module
//! does.

use mesh_model::{config::discovery::TargetGroup, labels::Labels};

use super::role::Discover;

/// Labels with the name of the node that a target runs on.
const NODE_NAMES: [&str; 4] = [
    "__meta_kubernetes_pod_node_name",
    "__meta_kubernetes_endpoint_node_name",
    "__meta_kubernetes_endpointslice_endpoint_node_name",
    "__meta_kubernetes_node_name",
];

/// Labels with the kind and the name of the object that an endpoint refers to.
const TARGETS: [(&str, &str); 2] = [
    (
        "__meta_kubernetes_endpoint_address_target_kind",
        "__meta_kubernetes_endpoint_address_target_name",
    ),
    (
        "__meta_kubernetes_endpointslice_address_target_kind",
        "__meta_kubernetes_endpointslice_address_target_name",
    ),
];

/// Filters the targets of another [`Discover`] by node.
#[derive(Debug)]
pub(super) struct NodeLocal<D> {
    inner: D,
    node: String,
}

// === impl NodeLocal ===

impl<D> NodeLocal<D> {
    pub(super) fn new(inner: D, node: &str) -> Self {
        let node = node.to_owned();
        Self { inner, node }
    }

    fn is_on_node(&self, labels: &Labels) -> bool {
        let is_node = |name: &str| labels.get(name) == Some(&self.node);
        NODE_NAMES.iter().any(|name| is_node(name))
            || TARGETS
                .iter()
                .any(|(kind, name)| labels.get(kind) == Some("Node") && is_node(name))
    }
}

impl<D: Discover> Discover for NodeLocal<D> {
    fn update(&self) -> Option<Vec<TargetGroup>> {
        let mut groups = self.inner.update()?;
        for group in &mut groups {
            if !self.is_on_node(&group.labels) {
                group.targets.retain(|target| self.is_on_node(target));
            }
        }
        Some(groups)
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }
}
