//! The role `pod`: a target for each declared port of each container.
//!
//! A container without declared ports makes one target without a port.

use std::sync::Arc;

use mesh_model::{config::discovery::TargetGroup, labels::Labels};

use super::{
    labels::{MetaLabels, NAMESPACE, host_and_port},
    objects::{Container, ContainerPort, Object, ObjectKey, Pod, controller},
    related::{Changes, Related},
    role::Role,
};

// === impl Pod ===

impl Role for Pod {
    const SOURCE: &'static str = "pod";

    fn group(&self, related: &Related) -> Option<TargetGroup> {
        let key = self.key();
        let mut group = TargetGroup {
            source: Self::source(&key),
            ..TargetGroup::default()
        };
        // A starting or evicted pod has no address. A pod on a node that the node
        // selector excludes makes no targets either.
        if self.status.pod_ip.is_empty() || related.lacks_node(&self.spec.node_name) {
            return Some(group);
        }
        let mut labels = MetaLabels::default();
        self.add_to(&mut labels, related);
        labels.set_whole(NAMESPACE, &key.namespace);
        related.add_node(&mut labels, &self.spec.node_name);
        related.add_namespace(&mut labels, &key.namespace);
        group.labels = labels.build();
        group.targets = self.containers().flat_map(|c| self.targets(c)).collect();
        Some(group)
    }

    fn is_affected_by(&self, changes: &Changes) -> bool {
        changes.has_node(&self.spec.node_name)
            || changes.has_namespace(self.metadata.namespace.as_deref().unwrap_or_default())
            || changes.has_controller_of(self)
    }
}

impl Pod {
    /// Adds the pod labels, which the targets of endpoints have too.
    pub(super) fn add_to(&self, labels: &mut MetaLabels, related: &Related) {
        let shared = self.shared.get_or_init(|| self.own_labels());
        labels.set_base(shared.clone());
        self.add_controller(labels, related);
    }

    /// Builds the labels that depend on nothing but the pod.
    fn own_labels(&self) -> Arc<Labels> {
        let mut labels = MetaLabels::default();
        labels
            .set("pod_ip", &self.status.pod_ip)
            .set("pod_ready", self.ready())
            .set("pod_phase", &self.status.phase)
            .set("pod_node_name", &self.spec.node_name)
            .set("pod_host_ip", &self.status.host_ip)
            .set("pod_uid", self.metadata.uid.clone().unwrap_or_default())
            .object("pod", &self.metadata);
        Arc::new(labels.build())
    }

    fn add_controller(&self, labels: &mut MetaLabels, related: &Related) {
        let Some(owner) = controller(&self.metadata) else {
            return;
        };
        labels
            .set_some("pod_controller_kind", non_empty(&owner.kind))
            .set_some("pod_controller_name", non_empty(&owner.name));
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let key = ObjectKey::new(namespace, &owner.name);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                labels.set_some("pod_deployment_name", related.deployment(&key));
            }
            "Job" => {
                if related.attach.job {
                    labels.set("pod_job_name", &owner.name);
                }
                labels.set_some("pod_cronjob_name", related.cron_job(&key));
            }
            _ => {}
        }
    }

    fn targets(&self, (container, init): (&Container, bool)) -> Vec<Labels> {
        let id = self.container_id(&container.name, init);
        if container.ports.is_empty() {
            // Relabeling can add a port to the address.
            let mut target = MetaLabels::at(&self.status.pod_ip);
            target.set("pod_container_id", id);
            add_container(&mut target, container, init);
            return vec![target.build()];
        }
        let target = |port| {
            let mut target = self.port(container, init, port);
            target.set("pod_container_id", id);
            target.build()
        };
        container.ports.iter().map(target).collect()
    }

    /// Builds the target for a declared port of a container.
    pub(super) fn port(
        &self,
        container: &Container,
        init: bool,
        port: &ContainerPort,
    ) -> MetaLabels {
        let address = host_and_port(&self.status.pod_ip, port.container_port);
        let mut target = MetaLabels::at(address);
        add_container(&mut target, container, init);
        add_port(&mut target, port, &port.protocol);
        target
    }
}

/// Adds the labels of the target's container.
pub(super) fn add_container(target: &mut MetaLabels, container: &Container, init: bool) {
    target
        .set("pod_container_name", &container.name)
        .set("pod_container_image", &container.image)
        .set("pod_container_init", init.to_string());
}

/// Adds the labels of the target's container port.
pub(super) fn add_port(target: &mut MetaLabels, port: &ContainerPort, protocol: &str) {
    target
        .set("pod_container_port_name", &port.name)
        .set("pod_container_port_number", port.container_port.to_string())
        .set("pod_container_port_protocol", protocol);
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
