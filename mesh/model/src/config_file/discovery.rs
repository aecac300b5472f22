//! The `*_sd_configs` and `static_configs` sections.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use url::Url;

use super::{
    aws::{AwsSd, Ec2Sd, EcsSd, MskSd},
    field_selector::FieldSelector,
    http::with_http,
    label_selector::LabelSelector,
    scalar::{FromText, Text, null_is_zero},
    section::{Context, List, Problem, both, build_all},
};
use crate::{
    config::{
        discovery::{
            AttachMetadata, DiscoveryConfig, DnsConfig, DnsRecord, FileConfig, HttpConfig,
            KubernetesConfig, KubernetesRole, KubernetesSelector, TargetGroup,
        },
        http::HttpClientConfig,
    },
    labels::{ADDRESS, Labels},
    validation::ValidationScheme,
};

/// All discovery sections of one scrape configuration.
#[derive(Debug, Default)]
pub(in crate::config_file) struct Mechanisms {
    /// True if the scrape configuration has `relabel_configs`, which can turn any target
    /// into an address.
    pub(in crate::config_file) relabeled: bool,
    pub(in crate::config_file) static_configs: List<StaticGroup>,
    pub(in crate::config_file) file: List<FileSd>,
    pub(in crate::config_file) http: List<HttpSd>,
    pub(in crate::config_file) dns: List<DnsSd>,
    pub(in crate::config_file) kubernetes: List<KubernetesSd>,
    pub(in crate::config_file) ec2: List<Ec2Sd>,
    pub(in crate::config_file) ecs: List<EcsSd>,
    pub(in crate::config_file) msk: List<MskSd>,
    pub(in crate::config_file) aws: List<AwsSd>,
    /// Keys of mechanisms that promesh does not implement.
    pub(in crate::config_file) unsupported: Vec<String>,
}

/// An entry of `static_configs` or of a target file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct StaticGroup {
    pub(in crate::config_file) targets: Option<Vec<String>>,
    pub(in crate::config_file) labels: Option<BTreeMap<String, String>>,
}

/// `file_sd_configs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct FileSd {
    files: Option<Vec<String>>,
    refresh_interval: Option<Text<Duration>>,
}

with_http! {
    /// `http_sd_configs`.
    struct HttpSd {
        url: Option<String>,
        refresh_interval: Option<Text<Duration>>,
    }
}

/// `dns_sd_configs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct DnsSd {
    names: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_zero")]
    r#type: Option<String>,
    port: Option<u16>,
    refresh_interval: Option<Text<Duration>>,
}

with_http! {
    /// `kubernetes_sd_configs`.
    struct KubernetesSd {
        role: Option<Text<KubernetesRole>>,
        api_server: Option<String>,
        kubeconfig_file: Option<String>,
        namespaces: Option<Namespaces>,
        selectors: Option<Vec<Selector>>,
        attach_metadata: Option<Attach>,
    }
}

/// `namespaces`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Namespaces {
    own_namespace: Option<bool>,
    names: Option<Vec<String>>,
}

/// One entry of `selectors`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Selector {
    role: Text<KubernetesRole>,
    label: Option<Text<LabelSelector>>,
    field: Option<Text<FieldSelector>>,
}

/// `attach_metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Attach {
    node: Option<bool>,
    namespace: Option<bool>,
    deployment: Option<bool>,
    job: Option<bool>,
    cronjob: Option<bool>,
}

// === impl Mechanisms ===

impl Mechanisms {
    pub(in crate::config_file) fn build(
        self,
        context: Context<'_>,
    ) -> Result<Vec<DiscoveryConfig>, Problem> {
        let relabeled = self.relabeled;
        let statics = build_all(self.static_configs, "section in static_configs", |group| {
            if !relabeled {
                group.check_addresses()?;
            }
            group.build()
        });
        let file = build_all(self.file, "file_sd_configs entry", |sd| sd.build(context));
        let http = build_all(self.http, "http_sd_configs entry", |sd| sd.build(context));
        let dns = build_all(self.dns, "dns_sd_configs entry", DnsSd::build);
        let kubernetes = build_all(self.kubernetes, "kubernetes_sd_configs entry", |sd| {
            sd.build(context)
        });
        let ec2 = build_all(self.ec2, "ec2_sd_configs entry", |sd| sd.build(context));
        let ecs = build_all(self.ecs, "ecs_sd_configs entry", |sd| sd.build(context));
        let msk = build_all(self.msk, "msk_sd_configs entry", |sd| sd.build(context));
        let aws = build_all(self.aws, "aws_sd_configs entry", |sd| sd.build(context));
        let mut others = Ok(Vec::new());
        for list in [file, http, dns, kubernetes, ec2, ecs, msk, aws] {
            others = both(others, list).map(|(mut all, list)| {
                all.extend(list);
                all
            });
        }
        let (mut groups, others) = both(statics, others)?;
        for (index, group) in groups.iter_mut().enumerate() {
            group.source = index.to_string();
        }
        let mut all = Vec::new();
        if !groups.is_empty() {
            all.push(DiscoveryConfig::Static(groups));
        }
        all.extend(others);
        let unsupported = self.unsupported.into_iter();
        all.extend(unsupported.map(DiscoveryConfig::Unsupported));
        Ok(all)
    }
}

// === impl StaticGroup ===

impl StaticGroup {
    /// Rejects targets that are URLs.
    fn check_addresses(&self) -> Result<(), Problem> {
        let mut targets = self.targets.iter().flatten();
        match targets.find(|target| target.contains('/')) {
            Some(url) => Err(Problem::new(format!(
                "{url:?} is not a valid hostname, expected HOST:PORT"
            ))),
            None => Ok(()),
        }
    }

    /// Builds the target group. The caller sets its `source`. Does not check addresses: an
    /// invalid address affects one target, not the whole list.
    pub(in crate::config_file) fn build(self) -> Result<TargetGroup, Problem> {
        for name in self.labels.iter().flatten().map(|(name, _)| name) {
            if !ValidationScheme::Utf8.is_valid_label_name(name) {
                return Err(Problem::new(format!("{name:?} is not a valid label name")));
            }
        }
        let targets = self.targets.unwrap_or_default().into_iter();
        Ok(TargetGroup {
            targets: targets
                .map(|address| Labels::from_iter([(ADDRESS, address)]))
                .collect(),
            labels: self.labels.unwrap_or_default().into_iter().collect(),
            source: String::new(),
        })
    }
}

// === impl FileSd ===

impl FileSd {
    fn build(self, context: Context<'_>) -> Result<DiscoveryConfig, Problem> {
        let files = self.files.unwrap_or_default();
        if files.is_empty() {
            return Err(Problem::new(
                "file service discovery config must contain at least one path name",
            ));
        }
        if let Some(bad) = files.iter().find(|file| !is_target_file(file)) {
            return Err(Problem::new(format!(
                "path name {bad:?} is not valid for file discovery, expected .json, .yml or .yaml, and * in the last part only"
            )));
        }
        Ok(DiscoveryConfig::File(FileConfig {
            files: files.into_iter().map(|file| context.path(file)).collect(),
            refresh_interval: refresh(self.refresh_interval, 300)?,
        }))
    }
}

fn is_target_file(file: &str) -> bool {
    let endings = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    let folder_of_wildcard = file.find('*').and_then(|at| file[at..].find('/'));
    endings.iter().any(|end| file.ends_with(end)) && folder_of_wildcard.is_none()
}

// === impl HttpSd ===

impl HttpSd {
    fn build(mut self, context: Context<'_>) -> Result<DiscoveryConfig, Problem> {
        let url = self.url.take().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| Problem::new("URL is missing"))?;
        Ok(DiscoveryConfig::Http(Box::new(HttpConfig {
            url: http_url(&url)?,
            written_url: url,
            refresh_interval: refresh(self.refresh_interval.take(), 60)?,
            http: self.take_http().build(context)?,
        })))
    }
}

fn http_url(text: &str) -> Result<Url, Problem> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(Problem::new(format!(
            "{text:?}: URL scheme must be 'http' or 'https'"
        )));
    }
    match text.parse::<Url>() {
        Ok(url) if url.has_host() => Ok(url),
        Ok(_) | Err(url::ParseError::EmptyHost) => {
            Err(Problem::new(format!("{text:?}: host is missing in URL")))
        }
        Err(error) => Err(Problem::new(format!("{text:?} is not a URL: {error}"))),
    }
}

// === impl DnsSd ===

impl DnsSd {
    fn build(self) -> Result<DiscoveryConfig, Problem> {
        let names = self.names.unwrap_or_default();
        if names.is_empty() {
            return Err(Problem::new(
                "DNS-SD config must contain at least one SRV record name",
            ));
        }
        let record = match self.r#type.as_deref().map(str::to_uppercase).as_deref() {
            None | Some("SRV") => DnsRecord::Srv,
            Some("A") => DnsRecord::A,
            Some("AAAA") => DnsRecord::Aaaa,
            Some("MX") => DnsRecord::Mx,
            Some("NS") => DnsRecord::Ns,
            Some(other) => {
                return Err(Problem::new(format!(
                    "invalid DNS-SD records type {other:?}, expected A, AAAA, SRV, MX or NS"
                )));
            }
        };
        let port = match (record, self.port.filter(|port| *port > 0)) {
            (_, Some(port)) => port,
            (DnsRecord::Srv, None) => 0,
            (_, None) => {
                return Err(Problem::new(
                    "a port is required in DNS-SD configs for all record types except SRV",
                ));
            }
        };
        Ok(DiscoveryConfig::Dns(DnsConfig {
            names,
            record,
            port,
            refresh_interval: refresh(self.refresh_interval, 30)?,
        }))
    }
}

// === impl KubernetesSd ===

impl KubernetesSd {
    fn build(mut self, context: Context<'_>) -> Result<DiscoveryConfig, Problem> {
        let role = self.role.take().ok_or_else(|| {
            Problem::new("role missing, expected one of node, service, pod, endpoints, endpointslice, ingress")
        })?;
        let namespaces = self.namespaces.take().unwrap_or_default();
        let own_namespace = namespaces.own_namespace.unwrap_or(false);
        let attach = self.attach_metadata.take().unwrap_or_default();
        let http = self.take_http();
        let api_server = self.api_server.take().filter(|url| !url.is_empty());
        let kubeconfig = self.kubeconfig_file.take().filter(|file| !file.is_empty());
        let http = http.build(context)?;
        // As in Prometheus, settings equal to the defaults do not count as custom.
        let custom = http != HttpClientConfig::default();
        let config = KubernetesConfig {
            role: role.0,
            http,
            api_server: api_server.map(|url| http_url(&url)).transpose()?,
            kubeconfig_file: kubeconfig.map(|file| context.path(file)),
            namespaces: namespaces.names.unwrap_or_default(),
            own_namespace,
            selectors: selectors(role.0, self.selectors.take().unwrap_or_default())?,
            attach_metadata: AttachMetadata {
                node: attach.node.unwrap_or(false),
                namespace: attach.namespace.unwrap_or(false),
                deployment: attach.deployment.unwrap_or(false),
                job: attach.job.unwrap_or(false),
                cronjob: attach.cronjob.unwrap_or(false),
            },
        };
        let wrong = match (&config.api_server, &config.kubeconfig_file) {
            (Some(_), Some(_)) => {
                Some("cannot use 'kubeconfig_file' and 'api_server' simultaneously")
            }
            (_, Some(_)) if custom => Some(
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
            ),
            (None, None) if custom => Some(
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
            ),
            (Some(_), _) if own_namespace => {
                Some("cannot use 'api_server' and 'namespaces.own_namespace' simultaneously")
            }
            (_, Some(_)) if own_namespace => {
                Some("cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously")
            }
            _ => None,
        };
        match wrong {
            Some(wrong) => Err(Problem::new(wrong)),
            None => Ok(DiscoveryConfig::Kubernetes(Box::new(config))),
        }
    }
}

fn selectors(
    role: KubernetesRole,
    selectors: Vec<Selector>,
) -> Result<Vec<KubernetesSelector>, Problem> {
    use KubernetesRole as Role;
    let allowed: &[Role] = match role {
        Role::Node => &[Role::Node],
        Role::Service => &[Role::Service],
        Role::Pod => &[Role::Pod, Role::Node],
        Role::Endpoints => &[Role::Pod, Role::Service, Role::Endpoints],
        Role::EndpointSlice => &[Role::Pod, Role::Service, Role::EndpointSlice],
        Role::Ingress => &[Role::Ingress],
    };
    let mut seen = Vec::new();
    let build = |selector: Selector| {
        let of = selector.role.0;
        if !allowed.contains(&of) {
            let names: Vec<_> = allowed.iter().map(|role| role.as_str()).collect();
            return Err(Problem::new(format!(
                "{} role supports only {} selectors",
                role.as_str(),
                names.join(", ")
            )));
        }
        if seen.contains(&of) {
            return Err(Problem::new(format!(
                "duplicated selector role: {}",
                of.as_str()
            )));
        }
        seen.push(of);
        Ok(KubernetesSelector {
            role: of,
            label: selector.label.map(|text| text.0.0).unwrap_or_default(),
            field: selector.field.map(|text| text.0.0).unwrap_or_default(),
        })
    };
    selectors.into_iter().map(build).collect()
}

impl FromText for KubernetesRole {
    fn from_text(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown Kubernetes SD role {text:?}, expected one of {names}")
        })
    }
}

/// Returns the refresh interval, or the default if none is given.
pub(in crate::config_file) fn refresh(
    given: Option<Text<Duration>>,
    default_seconds: u64,
) -> Result<Duration, Problem> {
    let interval = given.map_or(Duration::from_secs(default_seconds), |given| given.0);
    if interval.is_zero() {
        return Err(Problem::new("refresh_interval is 0, expected at least 1ms"));
    }
    Ok(interval)
}
