//! The Node object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, null_is_default};

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata of the node.
    pub metadata: ObjectMeta,
    /// Desired state of the node.
    pub spec: NodeSpec,
    /// Observed state of the node.
    pub status: NodeStatus,
}

/// Desired state of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// ID of the node at the cloud provider.
    #[serde(rename = "providerID")]
    pub provider_id: String,
}

/// Observed state of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    /// Addresses of the node.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Vec<NodeAddress>,
    /// Conditions of the node.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// Endpoints of the node's daemons.
    pub daemon_endpoints: DaemonEndpoints,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// Address type, such as `InternalIP` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: String,
    /// IP address or host name.
    pub address: String,
}

/// A condition of a node or a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Condition type, such as `Ready` or `MemoryPressure`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Status: `True`, `False` or `Unknown`.
    pub status: String,
}

/// Endpoints of a node's daemons.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonEndpoints {
    /// Endpoint of the kubelet.
    pub kubelet_endpoint: DaemonEndpoint,
}

/// Endpoint of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DaemonEndpoint {
    /// Port number. Kubernetes capitalizes this key.
    #[serde(rename = "Port")]
    pub port: i32,
}

// === impl Node ===

impl Object for Node {}
