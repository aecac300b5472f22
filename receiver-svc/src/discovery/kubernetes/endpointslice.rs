//! The role `endpointslice`: a target for each address and port of each slice.
//!
//! The other declared ports of the backing pods are targets too.

use std::sync::Arc;

use mesh_model::{config::discovery::TargetGroup, labels::Labels, validation::sanitize_label_name};

use super::{
    backing_pods::BackingPods,
    labels::{MetaLabels, NAMESPACE, host_and_port},
    objects::{Endpoint, EndpointSlice, EndpointSlicePort, Object, Service},
    related::{Changes, Related},
    role::Role,
};

/// Label of a slice with the name of its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

// === impl EndpointSlice ===

impl Role for EndpointSlice {
    const SOURCE: &'static str = "endpointslice";

    fn group(&self, related: &Related) -> Option<TargetGroup> {
        let key = self.key();
        let mut labels = MetaLabels::default();
        labels.set_whole(NAMESPACE, &key.namespace);
        labels.set("endpointslice_address_type", &self.address_type);
        labels.object("endpointslice", &self.metadata);
        let service = self.service(related);
        if let Some(service) = &service {
            service.add_to(&mut labels);
        }
        related.add_namespace(&mut labels, &key.namespace);
        let mut group = TargetGroup {
            labels: labels.build(),
            source: Self::source(&key),
            ..TargetGroup::default()
        };
        if !service.is_some_and(|service| self.is_secondary(&service)) {
            group.targets = self.targets(related);
        }
        Some(group)
    }

    fn is_affected_by(&self, changes: &Changes) -> bool {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let service = self.service_name();
        service.is_some_and(|name| changes.has_service(namespace, name))
            || changes.has_namespace(namespace)
            || self.endpoints.iter().any(|endpoint| {
                changes.affects_address(endpoint.target_ref.as_ref(), endpoint.node_name.as_deref())
            })
    }
}

impl EndpointSlice {
    fn service_name(&self) -> Option<&str> {
        let labels = self.metadata.labels.as_ref()?;
        labels.get(SERVICE_NAME).map(String::as_str)
    }

    fn service(&self, related: &Related) -> Option<Arc<Service>> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        related.service(namespace, self.service_name()?)
    }

    /// Returns true if a slice of the other address family has the same endpoints.
    /// Only the slices of the service's first address family make targets.
    fn is_secondary(&self, service: &Service) -> bool {
        let policy = service.spec.ip_family_policy.as_str();
        let first = service.spec.ip_families.first();
        matches!(policy, "PreferDualStack" | "RequireDualStack")
            && first.is_some_and(|first| *first != self.address_type)
    }

    fn targets(&self, related: &Related) -> Vec<Labels> {
        let mut pods = BackingPods::default();
        let mut targets = Vec::new();
        for endpoint in &self.endpoints {
            for port in &self.ports {
                for address in &endpoint.addresses {
                    let mut target = target(address, endpoint, port, related);
                    if let Some(pod) = related.pod(endpoint.target_ref.as_ref()) {
                        pods.add(&mut target, &pod, port.port, None, related);
                    }
                    targets.push(target.build());
                }
            }
        }
        targets.extend(pods.uncovered_targets(related));
        targets
    }
}

fn target(
    address: &str,
    endpoint: &Endpoint,
    port: &EndpointSlicePort,
    related: &Related,
) -> MetaLabels {
    let mut target = MetaLabels::at(match port.port {
        Some(port) => host_and_port(address, port),
        None => address.to_owned(),
    });
    let conditions = &endpoint.conditions;
    let condition = |condition: Option<bool>| condition.map(|met| met.to_string());
    let prefix = "endpointslice_endpoint_conditions";
    target
        .set_some("endpointslice_port_name", port.name.as_ref())
        .set_some("endpointslice_port_protocol", port.protocol.as_ref())
        .set_some("endpointslice_port", port.port.map(|port| port.to_string()))
        .set_some(
            "endpointslice_port_app_protocol",
            port.app_protocol.as_ref(),
        )
        .set_some(format_args!("{prefix}_ready"), condition(conditions.ready))
        .set_some(
            format_args!("{prefix}_serving"),
            condition(conditions.serving),
        )
        .set_some(
            format_args!("{prefix}_terminating"),
            condition(conditions.terminating),
        )
        .set_some(
            "endpointslice_endpoint_hostname",
            endpoint.hostname.as_ref(),
        )
        .set_some(
            "endpointslice_endpoint_node_name",
            endpoint.node_name.as_ref(),
        )
        .set_some("endpointslice_endpoint_zone", endpoint.zone.as_ref());
    if let Some(reference) = &endpoint.target_ref {
        target
            .set("endpointslice_address_target_kind", &reference.kind)
            .set("endpointslice_address_target_name", &reference.name);
    }
    for (name, value) in &endpoint.deprecated_topology {
        let name = sanitize_label_name(name);
        let prefix = "endpointslice_endpoint_topology";
        target
            .set(format_args!("{prefix}_{name}"), value)
            .set(format_args!("{prefix}_present_{name}"), "true");
    }
    let reference = endpoint.target_ref.as_ref();
    let target_node = reference.filter(|reference| reference.kind == "Node");
    let node = target_node.map(|reference| &reference.name);
    if let Some(node) = node.or(endpoint.node_name.as_ref()) {
        related.add_node(&mut target, node);
    }
    target
}
