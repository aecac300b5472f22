//! Ingresses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, null_is_default};

/// An ingress.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What it is meant to be.
    pub spec: IngressSpec,
}

/// What an ingress is meant to be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    /// Its class.
    pub ingress_class_name: Option<String>,
    /// What goes where.
    #[serde(deserialize_with = "null_is_default")]
    pub rules: Vec<IngressRule>,
    /// Hosts that are reached by TLS.
    #[serde(deserialize_with = "null_is_default")]
    pub tls: Vec<IngressTls>,
}

/// What goes where for one host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// The host; empty for all.
    pub host: String,
    /// Its paths.
    pub http: Option<IngressHttp>,
}

/// The paths of a host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressHttp {
    /// The paths.
    #[serde(deserialize_with = "null_is_default")]
    pub paths: Vec<IngressPath>,
}

/// A path of a host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressPath {
    /// How it begins; empty for all.
    pub path: String,
}

/// Hosts that are reached by TLS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressTls {
    /// The hosts, with a wildcard for the first part.
    #[serde(deserialize_with = "null_is_default")]
    pub hosts: Vec<String>,
}

// === impl Ingress ===

impl Object for Ingress {}
