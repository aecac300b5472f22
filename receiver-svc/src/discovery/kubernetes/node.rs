//! The role `node`: a target for the kubelet of each node.

use std::collections::BTreeMap;

use mesh_model::{
    config::discovery::TargetGroup,
    labels::{INSTANCE, Labels},
    validation::sanitize_label_name,
};
use tracing::warn;

use super::{
    labels::{MetaLabels, host_and_port},
    objects::{Node, Object},
    related::{Changes, Related},
    role::Role,
};

/// Address types in order of preference for the target address. `LegacyHostIP`
/// exists in clusters older than 1.8.
const BY_PREFERENCE: [&str; 6] = [
    "InternalIP",
    "InternalDNS",
    "ExternalIP",
    "ExternalDNS",
    "LegacyHostIP",
    "Hostname",
];

// === impl Node ===

impl Role for Node {
    const SOURCE: &'static str = "node";

    fn group(&self, _: &Related) -> Option<TargetGroup> {
        let key = self.key();
        let addresses = self.addresses();
        let preferred = BY_PREFERENCE.iter().find_map(|kind| addresses.get(kind));
        let Some(address) = preferred else {
            warn!(node = key.name, "Node has no address");
            return None;
        };
        let port = self.status.daemon_endpoints.kubelet_endpoint.port;
        let mut target = MetaLabels::at(host_and_port(address, port));
        target.set_whole(INSTANCE, &key.name);
        for (kind, address) in &addresses {
            target.set(
                format_args!("node_address_{}", sanitize_label_name(kind)),
                *address,
            );
        }
        Some(TargetGroup {
            targets: vec![target.build()],
            labels: self.labels(),
            source: Self::source(&key),
        })
    }

    fn is_affected_by(&self, _: &Changes) -> bool {
        false
    }
}

impl Node {
    /// Returns the first address of each type.
    fn addresses(&self) -> BTreeMap<&str, &str> {
        let mut first = BTreeMap::new();
        for address in &self.status.addresses {
            let kind = address.kind.as_str();
            first.entry(kind).or_insert(address.address.as_str());
        }
        first
    }

    fn labels(&self) -> Labels {
        let mut labels = MetaLabels::default();
        labels.set("node_provider_id", &self.spec.provider_id);
        for condition in &self.status.conditions {
            let kind = sanitize_label_name(&condition.kind.to_lowercase());
            let status = condition.status.to_lowercase();
            labels.set(format_args!("node_condition_{kind}"), status);
        }
        labels.object("node", &self.metadata);
        labels.build()
    }
}
