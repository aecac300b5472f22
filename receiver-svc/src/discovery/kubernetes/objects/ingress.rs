//! The Ingress object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, null_is_default};

/// An ingress.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Metadata of the ingress.
    pub metadata: ObjectMeta,
    /// Desired state of the ingress.
    pub spec: IngressSpec,
}

/// Desired state of an ingress.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    /// Name of the ingress class.
    pub ingress_class_name: Option<String>,
    /// Routing rules.
    #[serde(deserialize_with = "null_is_default")]
    pub rules: Vec<IngressRule>,
    /// TLS settings.
    #[serde(deserialize_with = "null_is_default")]
    pub tls: Vec<IngressTls>,
}

/// Routing rule for one host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// Host of the rule; empty for all hosts.
    pub host: String,
    /// Paths of the rule.
    pub http: Option<IngressHttp>,
}

/// Paths of a routing rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressHttp {
    /// Paths of the rule.
    #[serde(deserialize_with = "null_is_default")]
    pub paths: Vec<IngressPath>,
}

/// A path of a routing rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressPath {
    /// Path prefix; empty for all paths.
    pub path: String,
}

/// TLS settings for some hosts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressTls {
    /// Hosts that use TLS; the first label can be a wildcard.
    #[serde(deserialize_with = "null_is_default")]
    pub hosts: Vec<String>,
}

// === impl Ingress ===

impl Object for Ingress {}
