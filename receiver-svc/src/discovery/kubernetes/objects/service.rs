//! The Service object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{Object, null_is_default};

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Metadata of the service.
    pub metadata: ObjectMeta,
    /// Desired state of the service.
    pub spec: ServiceSpec,
    /// Observed state of the service.
    pub status: ServiceStatus,
}

/// Desired state of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Service type: `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Cluster IP address.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// DNS name that an `ExternalName` service is an alias of.
    pub external_name: String,
    /// Requested address of the load balancer (deprecated).
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    /// IP family policy: `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    pub ip_family_policy: String,
    /// IP families, `IPv4` and `IPv6`, in order of preference.
    #[serde(deserialize_with = "null_is_default")]
    pub ip_families: Vec<String>,
    /// Ports of the service.
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Vec<ServicePort>,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    /// Name of the port.
    pub name: String,
    /// Port number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Observed state of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// State of the load balancer.
    pub load_balancer: LoadBalancer,
}

/// State of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Ingress points of the load balancer.
    #[serde(deserialize_with = "null_is_default")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An ingress point of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerIngress {
    /// IP address; empty if the ingress point has a host name.
    pub ip: String,
}

// === impl Service ===

impl Object for Service {}
