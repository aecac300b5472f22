//! The Pod object.

use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_model::labels::Labels;
use serde::Deserialize;

use super::{Condition, Object, null_is_default};

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata of the pod.
    pub metadata: ObjectMeta,
    /// Desired state of the pod.
    pub spec: PodSpec,
    /// Observed state of the pod.
    pub status: PodStatus,
    /// Labels of the pod, which all its targets share.
    #[serde(skip)]
    pub(in crate::discovery::kubernetes) shared: SharedLabels,
}

/// Labels that are built from an object when the first target needs them. They are no part of
/// the object, so two objects are equal with or without them.
#[derive(Clone, Debug, Default)]
pub(in crate::discovery::kubernetes) struct SharedLabels(OnceLock<Arc<Labels>>);

/// Desired state of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Name of the pod's node; empty until the pod is scheduled.
    pub node_name: String,
    /// Containers of the pod.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// Init containers, including sidecars.
    #[serde(deserialize_with = "null_is_default")]
    pub init_containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Name of the container.
    pub name: String,
    /// Image of the container.
    pub image: String,
    /// Ports that the container declares.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<ContainerPort>,
}

/// A port that a container declares.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name of the port.
    pub name: String,
    /// Port number on the pod's IP address.
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Observed state of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// IP address of the pod; empty until one is assigned.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// IP address of the node.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// Phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Conditions of the pod.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// Observed state of the containers.
    #[serde(deserialize_with = "null_is_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Observed state of the init containers.
    #[serde(deserialize_with = "null_is_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// Observed state of a container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// Name of the container.
    pub name: String,
    /// Container ID as `<type>://<container_id>`; empty until the container has run.
    #[serde(rename = "containerID")]
    pub container_id: String,
}

const READY: &str = "Ready";

// === impl SharedLabels ===

impl SharedLabels {
    pub(in crate::discovery::kubernetes) fn get_or_init(
        &self,
        build: impl FnOnce() -> Arc<Labels>,
    ) -> &Arc<Labels> {
        self.0.get_or_init(build)
    }
}

impl PartialEq for SharedLabels {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

// === impl Pod ===

impl Object for Pod {
    fn strip(&mut self) {
        super::strip(&mut self.metadata);
        self.status
            .conditions
            .retain(|condition| condition.kind == READY);
    }
}

impl Pod {
    /// Returns the status of the `Ready` condition: `true`, `false` or `unknown`.
    pub fn ready(&self) -> String {
        let mut conditions = self.status.conditions.iter();
        let ready = conditions.find(|condition| condition.kind == READY);
        ready.map_or("unknown".to_owned(), |ready| ready.status.to_lowercase())
    }

    /// Returns all containers. The flag is true for init containers.
    pub fn containers(&self) -> impl Iterator<Item = (&Container, bool)> {
        let containers = self.spec.containers.iter().map(|c| (c, false));
        let init = self.spec.init_containers.iter().map(|c| (c, true));
        containers.chain(init)
    }

    /// Returns the ID of a container; empty until the container has run.
    pub fn container_id(&self, name: &str, init: bool) -> &str {
        let statuses = if init {
            &self.status.init_container_statuses
        } else {
            &self.status.container_statuses
        };
        let status = statuses.iter().find(|status| status.name == name);
        status.map_or("", |status| &status.container_id)
    }
}
