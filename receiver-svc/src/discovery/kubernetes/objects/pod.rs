//! Pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Condition, Object, null_is_default};

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it is meant to be.
    pub spec: PodSpec,
    /// How it is.
    pub status: PodStatus,
}

/// What a pod is meant to be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Its node, once it has one.
    pub node_name: String,
    /// Its containers.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// Containers that run before those, sidecars among them.
    #[serde(deserialize_with = "null_is_default")]
    pub init_containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The ports it declares.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<ContainerPort>,
}

/// A port that a container declares.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Its name.
    pub name: String,
    /// Its number on the pod's address.
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// How a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// Its address, once it has one.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// Its node's address.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// What is known of it.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// How its containers are.
    #[serde(deserialize_with = "null_is_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// How the containers before those are.
    #[serde(deserialize_with = "null_is_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// The container.
    pub name: String,
    /// `<type>://<container_id>`, once it has run.
    #[serde(rename = "containerID")]
    pub container_id: String,
}

const READY: &str = "Ready";

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
    /// Whether it is ready: `true`, `false` or `unknown`.
    pub fn ready(&self) -> String {
        let mut conditions = self.status.conditions.iter();
        let ready = conditions.find(|condition| condition.kind == READY);
        ready.map_or("unknown".to_owned(), |ready| ready.status.to_lowercase())
    }

    /// All containers, each with whether it runs before the others.
    pub fn containers(&self) -> impl Iterator<Item = (&Container, bool)> {
        let containers = self.spec.containers.iter().map(|c| (c, false));
        let before = self.spec.init_containers.iter().map(|c| (c, true));
        containers.chain(before)
    }

    /// The id of a container; empty where it has not run yet.
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
