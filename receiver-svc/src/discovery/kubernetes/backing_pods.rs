//! The pods that back the endpoints of a service.
//!
//! Labels the endpoint targets with their pods. Adds targets for the ports that a
//! pod declares but no endpoint covers.

use std::{collections::BTreeMap, sync::Arc};

use mesh_model::labels::Labels;

use super::{
    labels::MetaLabels,
    objects::{Object, ObjectKey, Pod},
    pod::{add_container, add_port},
    related::Related,
};

/// Maps each pod to the ports that an endpoint already covers.
#[derive(Debug, Default)]
pub(super) struct BackingPods(BTreeMap<ObjectKey, (Arc<Pod>, Vec<i32>)>);

// === impl BackingPods ===

impl BackingPods {
    /// Labels a target with its pod, and records the port as covered. `protocol`
    /// overrides the protocol label of the container port.
    pub(super) fn add(
        &mut self,
        target: &mut MetaLabels,
        pod: &Arc<Pod>,
        port: Option<i32>,
        protocol: Option<&str>,
        related: &Related,
    ) {
        pod.add_to(target, related);
        let (_, covered) = self
            .0
            .entry(pod.key())
            .or_insert_with(|| (pod.clone(), Vec::new()));
        let Some(port) = port else { return };
        covered.push(port);
        for (container, init) in pod.containers() {
            let mut ports = container.ports.iter();
            if let Some(declared) = ports.find(|declared| declared.container_port == port) {
                add_container(target, container, init);
                add_port(target, declared, protocol.unwrap_or(&declared.protocol));
            }
        }
    }

    /// Builds targets for the declared ports that no endpoint covers.
    pub(super) fn uncovered_targets(self, related: &Related) -> Vec<Labels> {
        let mut targets = Vec::new();
        for (pod, covered) in self.0.into_values() {
            if pod.status.pod_ip.is_empty() {
                continue;
            }
            for (container, init) in pod.containers() {
                let ports = container.ports.iter();
                for port in ports.filter(|port| !covered.contains(&port.container_port)) {
                    let mut target = pod.port(container, init, port);
                    pod.add_to(&mut target, related);
                    targets.push(target.build());
                }
            }
        }
        targets
    }
}
