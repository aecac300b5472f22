//! The Endpoints object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, null_is_default};

/// All endpoints of a service in one object (deprecated since Kubernetes 1.33).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// Metadata of the object; its name is that of the service.
    pub metadata: ObjectMeta,
    /// Groups of addresses with the same ports.
    #[serde(deserialize_with = "null_is_default")]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses with the same ports.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Addresses that are ready for traffic.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Vec<EndpointAddress>,
    /// Addresses that are not ready for traffic.
    #[serde(deserialize_with = "null_is_default")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Ports of the addresses.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<EndpointPort>,
}

/// An address of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointAddress {
    /// The IP address.
    pub ip: String,
    /// Host name of the address.
    pub hostname: String,
    /// Name of the node.
    pub node_name: Option<String>,
    /// Object that backs the address.
    pub target_ref: Option<TargetRef>,
}

/// A port of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// Name of the port.
    pub name: String,
    /// Port number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Reference to the object that backs an address.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// Kind of the object, such as `Pod` or `Node`.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

// === impl Endpoints ===

impl Object for Endpoints {}
