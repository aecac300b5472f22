//! The EndpointSlice object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, TargetRef, null_is_default};

/// A subset of the endpoints of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Metadata of the slice; a label names the service.
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Endpoints of the slice.
    #[serde(deserialize_with = "null_is_default")]
    pub endpoints: Vec<Endpoint>,
    /// Ports of every endpoint.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<EndpointSlicePort>,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Equivalent addresses of the endpoint.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Vec<String>,
    /// Conditions of the endpoint.
    pub conditions: EndpointConditions,
    /// Host name of the endpoint.
    pub hostname: Option<String>,
    /// Name of the endpoint's node.
    pub node_name: Option<String>,
    /// Name of the endpoint's zone.
    pub zone: Option<String>,
    /// Object that backs the endpoint.
    pub target_ref: Option<TargetRef>,
    /// Topology labels, as in `v1beta1`.
    #[serde(deserialize_with = "null_is_default")]
    pub deprecated_topology: BTreeMap<String, String>,
}

/// Conditions of an endpoint; `None` means unknown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// True if the endpoint accepts new traffic.
    pub ready: Option<bool>,
    /// True if the endpoint responds to requests.
    pub serving: Option<bool>,
    /// True if the endpoint is terminating.
    pub terminating: Option<bool>,
}

/// A port of a slice's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlicePort {
    /// Name of the port.
    pub name: Option<String>,
    /// Port number; `None` stands for all ports.
    pub port: Option<i32>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Application protocol, such as `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

// === impl EndpointSlice ===

impl Object for EndpointSlice {}
