//! `*_sd_configs` and `static_configs`: the discovery of targets.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{http::HttpClientConfig, secret::Secret};
use crate::labels::Labels;

/// A set of targets that share labels: the unit in which discovery reports targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Labels of each target, including `__address__`.
    pub targets: Vec<Labels>,
    /// Labels that all targets of the group have.
    pub labels: Labels,
    /// Identity of the group within its discovery mechanism. A later group with the same
    /// source replaces the earlier one. A group without targets removes it.
    pub source: String,
}

/// One discovery mechanism of a scrape configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoveryConfig {
    /// `static_configs`, all entries together.
    Static(Vec<TargetGroup>),
    /// `file_sd_configs`.
    File(FileConfig),
    /// `http_sd_configs`.
    Http(Box<HttpConfig>),
    /// `dns_sd_configs`.
    Dns(DnsConfig),
    /// `kubernetes_sd_configs`.
    Kubernetes(Box<KubernetesConfig>),
    /// `ec2_sd_configs`.
    Ec2(Box<Ec2Config>),
    /// `ecs_sd_configs`.
    Ecs(Box<AwsClustersConfig>),
    /// `msk_sd_configs`.
    Msk(Box<AwsClustersConfig>),
    /// A mechanism of Prometheus that promesh does not implement, by its key. Such a file
    /// can be checked but not run, since targets would be missing without notice.
    Unsupported(String),
}

/// `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Globs of `.json`, `.yml` and `.yaml` files. Relative paths are resolved against the
    /// configuration file's directory.
    pub files: Vec<PathBuf>,
    /// Interval at which all files are read again. Default: 5 min.
    pub refresh_interval: Duration,
}

/// `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// URL of the target list.
    pub url: Url,
    /// `url` exactly as written in the file, for labels.
    pub written_url: String,
    /// Interval between requests. Default: 1 min.
    pub refresh_interval: Duration,
    /// HTTP client settings.
    pub http: HttpClientConfig,
}

/// DNS record type of `dns_sd_configs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DnsRecord {
    /// `A`.
    A,
    /// `AAAA`.
    Aaaa,
    /// `SRV`.
    #[default]
    Srv,
    /// `MX`.
    Mx,
    /// `NS`.
    Ns,
}

/// `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Names to resolve.
    pub names: Vec<String>,
    /// Record type.
    pub record: DnsRecord,
    /// Port of the targets. Ignored for SRV records, which contain the port.
    pub port: u16,
    /// Interval between lookups. Default: 30 s.
    pub refresh_interval: Duration,
}

/// Kind of Kubernetes object that a `kubernetes_sd_configs` entry discovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KubernetesRole {
    /// `node`.
    Node,
    /// `service`.
    Service,
    /// `pod`.
    Pod,
    /// `endpoints`.
    Endpoints,
    /// `endpointslice`.
    EndpointSlice,
    /// `ingress`.
    Ingress,
}

/// One entry of `selectors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSelector {
    /// Role whose objects the selector applies to.
    pub role: KubernetesRole,
    /// Label selector. Empty selects all objects.
    pub label: String,
    /// Field selector. Empty selects all objects.
    pub field: String,
}

/// `kubernetes_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Kind of object to discover.
    pub role: KubernetesRole,
    /// URL of the API server. Default: the cluster of this pod, unless a kubeconfig is given.
    pub api_server: Option<Url>,
    /// Path of a kubeconfig file.
    pub kubeconfig_file: Option<PathBuf>,
    /// HTTP client settings for `api_server`.
    pub http: HttpClientConfig,
    /// `namespaces.names`. Empty means all namespaces.
    pub namespaces: Vec<String>,
    /// `namespaces.own_namespace`.
    pub own_namespace: bool,
    /// `selectors`.
    pub selectors: Vec<KubernetesSelector>,
    /// `attach_metadata`.
    pub attach_metadata: AttachMetadata,
}

/// `attach_metadata`: other objects whose metadata becomes target labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttachMetadata {
    /// The target's node.
    pub node: bool,
    /// The target's namespace.
    pub namespace: bool,
    /// The deployment that controls the pod.
    pub deployment: bool,
    /// The job that controls the pod.
    pub job: bool,
    /// The cron job that controls the pod.
    pub cronjob: bool,
}

/// Settings that the AWS mechanisms share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsConfig {
    /// AWS region. Default: from the environment or the instance metadata.
    pub region: Option<String>,
    /// Endpoint URL that replaces the region's endpoint.
    pub endpoint: Option<String>,
    /// Access key of static credentials.
    pub access_key: Option<String>,
    /// Secret key of static credentials.
    pub secret_key: Option<Secret>,
    /// Named profile.
    pub profile: Option<String>,
    /// ARN of the role to assume.
    pub role_arn: Option<String>,
    /// External ID of that role.
    pub external_id: Option<String>,
    /// Port of the targets. Default: 80.
    pub port: u16,
    /// Interval between requests. Default: 1 min.
    pub refresh_interval: Duration,
    /// HTTP client settings for the API.
    pub http: HttpClientConfig,
}

/// `ec2_sd_configs`, and `aws_sd_configs` of the role `ec2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Config {
    /// Settings that the AWS mechanisms share.
    pub aws: AwsConfig,
    /// `DescribeInstances` filters: name and values.
    pub filters: Vec<(String, Vec<String>)>,
}

/// `ecs_sd_configs` and `msk_sd_configs`, and `aws_sd_configs` of these roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsClustersConfig {
    /// Settings that the AWS mechanisms share.
    pub aws: AwsConfig,
    /// Names or ARNs of the clusters; MSK takes ARNs. Empty means all clusters.
    pub clusters: Vec<String>,
    /// Maximum number of clusters that are listed at the same time. Default: 20 for ECS, 10
    /// for MSK.
    pub request_concurrency: usize,
}

// === impl KubernetesRole ===

impl KubernetesRole {
    /// All roles, in the order of Prometheus's documentation.
    pub const ALL: [Self; 6] = [
        Self::Node,
        Self::Service,
        Self::Pod,
        Self::Endpoints,
        Self::EndpointSlice,
        Self::Ingress,
    ];

    /// Returns the role's name in a configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Service => "service",
            Self::Pod => "pod",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Ingress => "ingress",
        }
    }
}
