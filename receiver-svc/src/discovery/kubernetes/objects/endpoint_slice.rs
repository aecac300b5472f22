//! Endpoint slices.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, TargetRef, null_is_default};

/// Some endpoints of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Its metadata; a label names the service.
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The endpoints.
    #[serde(deserialize_with = "null_is_default")]
    pub endpoints: Vec<Endpoint>,
    /// The ports of each.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<EndpointSlicePort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses; any of them will do.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Vec<String>,
    /// Whether it takes traffic.
    pub conditions: EndpointConditions,
    /// Its host's name.
    pub hostname: Option<String>,
    /// The node it is on.
    pub node_name: Option<String>,
    /// The zone it is in.
    pub zone: Option<String>,
    /// What is behind it.
    pub target_ref: Option<TargetRef>,
    /// Where it is, in the words of `v1beta1`.
    #[serde(deserialize_with = "null_is_default")]
    pub deprecated_topology: BTreeMap<String, String>,
}

/// Whether an endpoint takes traffic; what is not said is not known.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// It takes new traffic.
    pub ready: Option<bool>,
    /// It answers.
    pub serving: Option<bool>,
    /// It is about to go.
    pub terminating: Option<bool>,
}

/// A port of a slice's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlicePort {
    /// Its name.
    pub name: Option<String>,
    /// Its number; any port where there is none.
    pub port: Option<i32>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// The protocol above that.
    pub app_protocol: Option<String>,
}

// === impl EndpointSlice ===

impl Object for EndpointSlice {}
