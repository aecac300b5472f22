//! The role `endpoints`: a target for each address and port of each Endpoints object.
//!
//! The other declared ports of the backing pods are targets too.

use mesh_model::config::discovery::TargetGroup;
use tracing::warn;

use super::{
    backing_pods::BackingPods,
    labels::{MetaLabels, NAMESPACE, host_and_port},
    objects::{EndpointAddress, EndpointPort, Endpoints, Object},
    related::{Changes, Related},
    role::Role,
};

/// Annotation that the API server sets on objects with more than 1000 addresses.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

// === impl Endpoints ===

impl Role for Endpoints {
    const SOURCE: &'static str = "endpoints";

    fn group(&self, related: &Related) -> Option<TargetGroup> {
        let key = self.key();
        let mut labels = MetaLabels::default();
        labels.set_whole(NAMESPACE, &key.namespace);
        if let Some(service) = related.service(&key.namespace, &key.name) {
            service.add_to(&mut labels);
        }
        labels.object("endpoints", &self.metadata);
        related.add_namespace(&mut labels, &key.namespace);
        self.warn_of_truncation(&key.name);
        let mut pods = BackingPods::default();
        let mut targets = Vec::new();
        for subset in &self.subsets {
            for port in &subset.ports {
                let ready = subset.addresses.iter().map(|address| (address, "true"));
                let not_ready = subset.not_ready_addresses.iter();
                for (address, ready) in ready.chain(not_ready.map(|address| (address, "false"))) {
                    let mut target = target(address, port, ready, related);
                    if let Some(pod) = related.pod(address.target_ref.as_ref()) {
                        let protocol = Some(port.protocol.as_str());
                        pods.add(&mut target, &pod, Some(port.port), protocol, related);
                    }
                    targets.push(target.build());
                }
            }
        }
        targets.extend(pods.uncovered_targets(related));
        Some(TargetGroup {
            targets,
            labels: labels.build(),
            source: Self::source(&key),
        })
    }

    fn is_affected_by(&self, changes: &Changes) -> bool {
        let key = self.key();
        changes.has_service(&key.namespace, &key.name)
            || changes.has_namespace(&key.namespace)
            || self.addresses().any(|address| {
                changes.affects_address(address.target_ref.as_ref(), address.node_name.as_deref())
            })
    }
}

impl Endpoints {
    fn addresses(&self) -> impl Iterator<Item = &EndpointAddress> {
        let subsets = self.subsets.iter();
        subsets.flat_map(|subset| subset.addresses.iter().chain(&subset.not_ready_addresses))
    }

    fn warn_of_truncation(&self, name: &str) {
        let annotations = self.metadata.annotations.as_ref();
        let over = annotations.and_then(|annotations| annotations.get(OVER_CAPACITY));
        if over.is_some_and(|over| over == "truncated") {
            warn!(
                endpoints = name,
                "Endpoints object is truncated at 1000 addresses, use the role endpointslice"
            );
        }
    }
}

fn target(
    address: &EndpointAddress,
    port: &EndpointPort,
    ready: &str,
    related: &Related,
) -> MetaLabels {
    let mut target = MetaLabels::at(host_and_port(&address.ip, port.port));
    target
        .set("endpoint_port_name", &port.name)
        .set("endpoint_port_protocol", &port.protocol)
        .set("endpoint_ready", ready)
        .set_some("endpoint_node_name", address.node_name.as_ref())
        .set("endpoint_hostname", &address.hostname);
    if let Some(reference) = &address.target_ref {
        target
            .set("endpoint_address_target_kind", &reference.kind)
            .set("endpoint_address_target_name", &reference.name);
    }
    let reference = address.target_ref.as_ref();
    let target_node = reference.filter(|reference| reference.kind == "Node");
    let node = address.node_name.as_ref();
    if let Some(node) = node.or(target_node.map(|reference| &reference.name)) {
        related.add_node(&mut target, node);
    }
    target
}
