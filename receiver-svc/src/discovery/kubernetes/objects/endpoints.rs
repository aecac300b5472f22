//! Endpoints.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, null_is_default};

/// The endpoints of a service, all in one object (deprecated since 1.33).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// Its metadata; the name is the service's.
    pub metadata: ObjectMeta,
    /// Addresses that have their ports in common.
    #[serde(deserialize_with = "null_is_default")]
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that have their ports in common.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSubset {
    /// Those that take traffic.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Vec<EndpointAddress>,
    /// Those that do not.
    #[serde(deserialize_with = "null_is_default")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Their ports.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<EndpointPort>,
}

/// An address of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointAddress {
    /// The address.
    pub ip: String,
    /// Its host's name.
    pub hostname: String,
    /// The node it is on.
    pub node_name: Option<String>,
    /// What is behind it.
    pub target_ref: Option<TargetRef>,
}

/// A port of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// Its name.
    pub name: String,
    /// Its number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// What is behind an address.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Pod`, `Node`, …
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

// === impl Endpoints ===

impl Object for Endpoints {}
