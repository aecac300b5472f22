//! The pods behind a service's endpoints: their labels, and targets at the ports
//! they declare beside the service's.

use std::{collections::BTreeMap, sync::Arc};

use mesh::labels::Labels;

use super::{
    labels::MetaLabels,
    objects::{Object, ObjectKey, Pod},
    pod::{add_container, add_port},
    related::Related,
};

/// Pods behind endpoints, each with the ports there are targets at already.
#[derive(Debug, Default)]
pub(super) struct PodsBehind(BTreeMap<ObjectKey, (Arc<Pod>, Vec<i32>)>);

// === impl PodsBehind ===

impl PodsBehind {
    /// Labels a target at a port of a pod. The labels of the container's port have
    /// the protocol of the endpoints' port where that is given.
    pub(super) fn add(
        &mut self,
        target: &mut MetaLabels,
        pod: &Arc<Pod>,
        port: Option<i32>,
        protocol: Option<&str>,
        related: &Related,
    ) {
        pod.add_to(target, related);
        let (_, seen) = self
            .0
            .entry(pod.key())
            .or_insert_with(|| (pod.clone(), Vec::new()));
        let Some(port) = port else { return };
        seen.push(port);
        for (container, init) in pod.containers() {
            let mut ports = container.ports.iter();
            if let Some(declared) = ports.find(|declared| declared.container_port == port) {
                add_container(target, container, init);
                add_port(target, declared, protocol.unwrap_or(&declared.protocol));
            }
        }
    }

    /// Targets at the ports that no endpoint has.
    pub(super) fn others(self, related: &Related) -> Vec<Labels> {
        let mut others = Vec::new();
        for (pod, seen) in self.0.into_values() {
            if pod.status.pod_ip.is_empty() {
                continue;
            }
            for (container, init) in pod.containers() {
                let ports = container.ports.iter();
                for port in ports.filter(|port| !seen.contains(&port.container_port)) {
                    let mut target = pod.port(container, init, port);
                    pod.add_to(&mut target, related);
                    others.push(target.0.build());
                }
            }
        }
        others
    }
}
