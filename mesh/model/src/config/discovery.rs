//! `*_sd_configs` and `static_configs`: where targets come from.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{ConfigError, Secret, http::HttpClientConfig};
use crate::labels::Labels;

/// A set of targets that share labels, as discovery yields them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Labels of each target, `__address__` among them.
    pub targets: Vec<Labels>,
    /// Labels of all targets.
    pub labels: Labels,
    /// Identity of the group within its mechanism: a later group of the same
    /// source takes the place of an earlier one; one without targets removes it.
    pub source: String,
}

/// One discovery mechanism of a scrape configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoveryConfig {
    /// `static_configs`, all of them.
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
    /// A mechanism of Prometheus that promesh does not have, by its key. A file
    /// with one can be checked, not run: its targets would silently be missing.
    Unsupported(String),
}

/// `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    /// Globs of `.json`, `.yml` and `.yaml` files, relative paths resolved
    /// against the configuration file's directory.
    pub files: Vec<PathBuf>,
    /// How often all files are read again; 5 min unless given.
    pub refresh_interval: Duration,
}

/// `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// What is fetched.
    pub url: Url,
    /// The same as it is written, for labels.
    pub written_url: String,
    /// How often; 1 min unless given.
    pub refresh_interval: Duration,
    /// How.
    pub http: HttpClientConfig,
}

/// What `dns_sd_configs` asks for.
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
    /// Port of the targets; SRV records bring their own.
    pub port: u16,
    /// How often; 30 s unless given.
    pub refresh_interval: Duration,
}

/// What one `kubernetes_sd_configs` entry discovers.
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
    /// The role whose objects it selects.
    pub role: KubernetesRole,
    /// Label selector, empty for all.
    pub label: String,
    /// Field selector, empty for all.
    pub field: String,
}

/// `kubernetes_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// What is discovered.
    pub role: KubernetesRole,
    /// The API server; the pod's own cluster where neither it nor a kubeconfig is
    /// given.
    pub api_server: Option<Url>,
    /// Path of a kubeconfig file.
    pub kubeconfig_file: Option<PathBuf>,
    /// How `api_server` is reached.
    pub http: HttpClientConfig,
    /// `namespaces.names`; empty for all.
    pub namespaces: Vec<String>,
    /// `namespaces.own_namespace`.
    pub own_namespace: bool,
    /// `selectors`.
    pub selectors: Vec<KubernetesSelector>,
    /// `attach_metadata`.
    pub attach_metadata: AttachMetadata,
}

/// `attach_metadata`: what else is watched to label targets.
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

/// `ec2_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Config {
    /// Region; from the environment or instance metadata unless given.
    pub region: Option<String>,
    /// Another endpoint than the region's.
    pub endpoint: Option<String>,
    /// Static credentials.
    pub access_key: Option<String>,
    /// Static credentials.
    pub secret_key: Option<Secret>,
    /// Named profile.
    pub profile: Option<String>,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// External id of that role.
    pub external_id: Option<String>,
    /// Port of the targets; 80 unless given.
    pub port: u16,
    /// How often; 1 min unless given.
    pub refresh_interval: Duration,
    /// `DescribeInstances` filters: name and values.
    pub filters: Vec<(String, Vec<String>)>,
    /// How the API is reached.
    pub http: HttpClientConfig,
}

/// Reads a list of target groups, a file of `file_sd_configs`: JSON where its name
/// says so, YAML otherwise. The caller names their sources.
///
/// # Errors
/// Where it is no such list, with its place in `origin`.
pub fn parse_target_groups(text: &str, origin: &Path) -> Result<Vec<TargetGroup>, ConfigError> {
    let extension = origin.extension().unwrap_or_default();
    match extension.eq_ignore_ascii_case("json") {
        true => parse_target_groups_json(text, origin),
        false => super::yaml::target_groups::from_yaml(text, origin),
    }
}

/// Reads a list of target groups in JSON, the answer of an `http_sd_configs`
/// endpoint. The caller names their sources.
///
/// # Errors
/// Where it is no such list, with its place in `origin`.
pub fn parse_target_groups_json(
    text: &str,
    origin: &Path,
) -> Result<Vec<TargetGroup>, ConfigError> {
    super::yaml::target_groups::from_json(text, origin)
}

// === impl KubernetesRole ===

impl KubernetesRole {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Node,
        Self::Service,
        Self::Pod,
        Self::Endpoints,
        Self::EndpointSlice,
        Self::Ingress,
    ];

    /// The role's name in a configuration file.
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
