//! A destination: one entry of `remote_write` and its translation, batching and
//! signing.

use std::{sync::Arc, time::Duration};

use mesh_contract::ha::REPLICA;
use mesh_model::config::{
    Secret,
    http::SecretSource,
    redacted,
    relabel::{Action, RelabelConfig},
    remote_write::{OtlpConfig, ProtobufMessage, RemoteWriteConfig},
};
use mesh_net::connector::Connector;
use mesh_net::{
    aws::AwsOptions,
    http_client::{HttpClient, HttpClientError},
};
use prometheus_client::registry::Registry;
use tracing::warn;
use url::{Host, Url};

use crate::{
    remote_write::{
        batcher::{Batcher, BatcherConfig},
        client::Client,
        concurrency::ConcurrencyLimits,
        metrics,
        part::RequestLimits,
    },
    share::Share,
    sigv4::{
        self, Scope, Signer,
        credentials::{CredentialsCache, CredentialsFamilies},
    },
    translate::{
        Translator,
        limits::LabelLimits,
        otlp::OtlpRules,
        sink::{Capabilities, NativeHistograms},
    },
};

/// Running destination of one `remote_write` entry.
#[derive(Debug)]
pub struct Destination {
    /// Name in logs and metrics.
    pub name: String,
    /// Translates OTLP to request parts.
    pub translator: Translator,
    /// Client of the backend, which knows its state.
    pub client: Arc<Client>,
    /// Batches request parts into requests.
    pub batcher: Batcher,
    /// Metrics of the destination.
    pub metrics: Arc<metrics::Metrics>,
    /// Bytes of the Exports to this destination alone.
    pub share: Share,
}

/// Options that all destinations of a process share.
#[derive(Clone, Debug)]
pub struct Options {
    /// Maximum size of one request in bytes, before compression.
    pub request_bytes: usize,
    /// Time that a part waits for others to share a request.
    pub linger: Duration,
    /// Allows plain http to hosts other than localhost.
    pub allow_http: bool,
    /// Maximum size in bytes of the label cache.
    pub cache_bytes: usize,
    /// Limits of the labels of pushed series.
    pub label_limits: LabelLimits,
    /// Adds the external label `cluster` to pushed series.
    pub cluster_on_pushes: bool,
    /// Connector to the backend; TCP if `None`.
    pub connector: Option<Connector>,
}

/// Metric families of all destinations.
#[derive(Clone, Debug)]
pub struct MetricFamilies {
    /// Metrics of requests and samples.
    pub requests: metrics::Families,
    /// Metrics of AWS credentials.
    pub credentials: CredentialsFamilies,
}

/// An entry of `remote_write` is invalid.
#[derive(Debug, thiserror::Error)]
#[error("remote_write {name}: {problem}")]
pub struct DestinationError {
    name: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("url: {0}")]
    Url(#[from] http::uri::InvalidUri),
    #[error(
        "url: plain http sends samples unencrypted; use https, or set --remote-write.allow-http"
    )]
    PlainHttp,
    #[error("url: scheme {0:?}, expected https")]
    Scheme(String),
    #[error(transparent)]
    Http(#[from] HttpClientError),
    #[error(
        "write_relabel_configs: target_label {REPLICA} is not allowed; set it in the \
         external_labels of the receivers"
    )]
    Replica,
    #[error("sigv4: no region; set it in the section, in the url or in AWS_REGION")]
    NoRegion,
}

/// AWS service name in the signatures of AMP requests.
const AMP_SERVICE: &str = "aps";

// === impl MetricFamilies ===

impl MetricFamilies {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            requests: metrics::Families::register(registry),
            credentials: CredentialsFamilies::register(registry),
        }
    }
}

// === impl Destination ===

impl Destination {
    /// Starts the tasks of one entry.
    ///
    /// # Errors
    /// Returns an error if the entry is invalid.
    pub async fn start(
        config: &RemoteWriteConfig,
        otlp: &OtlpConfig,
        options: &Options,
        families: &MetricFamilies,
    ) -> Result<Self, DestinationError> {
        let started = Self::try_start(config, otlp, options, families).await;
        started.map_err(|problem| DestinationError {
            name: config.name.clone(),
            problem,
        })
    }

    async fn try_start(
        config: &RemoteWriteConfig,
        otlp: &OtlpConfig,
        options: &Options,
        families: &MetricFamilies,
    ) -> Result<Self, Problem> {
        check_scheme(&config.url, options.allow_http)?;
        if config.write_relabel_configs.iter().any(sets_replica) {
            return Err(Problem::Replica);
        }
        if sigv4::region_of(&config.url).is_some() && config.sigv4.is_none() {
            warn!(url = %redacted(&config.url), "No sigv4 section for an AMP destination");
        }
        let client = Client::new(
            config.name.clone(),
            url(config).as_str().parse()?,
            http(config, options.connector.clone())?,
            signer(config, families).await?,
            config.protobuf_message,
        )
        .with_failed_request_logging(config.failed_request_logging);
        let client = Arc::new(client);
        let limits = RequestLimits {
            series: config.queue.max_samples_per_send,
            bytes: options.request_bytes,
        };
        let age_limit = config.queue.sample_age_limit;
        let capabilities = Capabilities {
            native_histograms: native_histograms(config),
            inconsistent_histograms: false,
            exemplars: config.send_exemplars,
            families: config.protobuf_message == ProtobufMessage::V2 || config.send_metadata,
            limits,
            max_age: (!age_limit.is_zero()).then_some(age_limit),
        };
        let rules = config.write_relabel_configs.clone().into();
        let metrics = Arc::new(families.requests.for_destination(&config.name));
        let batcher = BatcherConfig {
            limits,
            linger: options.linger,
            concurrency: ConcurrencyLimits {
                window: config.queue.max_shards,
                min_backoff: config.queue.min_backoff,
                max_backoff: config.queue.max_backoff,
            },
            timeout: config.remote_timeout,
            metadata: config
                .send_metadata
                .then_some(config.metadata_send_interval),
            metadata_per_send: config.metadata_per_send,
        };
        Ok(Self {
            name: config.name.clone(),
            translator: Translator::new(
                capabilities,
                rules,
                OtlpRules::new(otlp.clone()).with_limits(options.label_limits),
                options.cache_bytes,
            ),
            batcher: Batcher::spawn(Arc::clone(&client), batcher, Arc::clone(&metrics)),
            client,
            metrics,
            share: Share::default(),
        })
    }
}

/// Rejects plain http unless the host is a loopback address or the flag allows it.
fn check_scheme(url: &Url, allow_http: bool) -> Result<(), Problem> {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_http || loopback => Ok(()),
        "http" => Err(Problem::PlainHttp),
        other => Err(Problem::Scheme(other.to_owned())),
    }
}

fn sets_replica(rule: &RelabelConfig) -> bool {
    let compares = matches!(rule.action, Action::KeepEqual | Action::DropEqual);
    rule.target_label == REPLICA && !compares
}

/// URL to post to. A signature replaces the credentials of the URL.
fn url(config: &RemoteWriteConfig) -> Url {
    let mut url = config.url.clone();
    if config.sigv4.is_some() {
        // These fail only for URLs without a host, which have no credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    url
}

fn http(
    config: &RemoteWriteConfig,
    connector: Option<Connector>,
) -> Result<HttpClient, HttpClientError> {
    let mut settings = config.http.clone();
    // The HTTP client adds these after the request is signed.
    for (name, value) in &config.headers {
        let value = SecretSource::Inline(Secret::new(value));
        let values = settings.http_headers.entry(name.clone()).or_default();
        values.insert(0, value);
    }
    // A signature is valid for one address only.
    settings.follow_redirects &= config.sigv4.is_none();
    let name = format!("remote write {:?}", config.name);
    HttpClient::with_connector(name, &settings, connector)
}

/// Native histograms to send. AMP rejects custom buckets.
fn native_histograms(config: &RemoteWriteConfig) -> NativeHistograms {
    let service = config
        .sigv4
        .as_ref()
        .map(|s| s.service_name.as_deref().unwrap_or(AMP_SERVICE));
    let is_amp = sigv4::region_of(&config.url).is_some() || service == Some(AMP_SERVICE);
    if !config.send_native_histograms {
        NativeHistograms::None
    } else if is_amp || config.convert_nhcb_to_classic {
        NativeHistograms::Exponential
    } else {
        NativeHistograms::All
    }
}

async fn signer(
    config: &RemoteWriteConfig,
    families: &MetricFamilies,
) -> Result<Option<Arc<Signer>>, Problem> {
    let Some(sigv4) = &config.sigv4 else {
        return Ok(None);
    };
    let in_url = sigv4::region_of(&config.url).map(str::to_owned);
    let options = AwsOptions {
        region: sigv4.region.clone().or(in_url),
        keys: sigv4.access_key.clone().zip(sigv4.secret_key.clone()),
        profile: sigv4.profile.clone(),
        role_arn: sigv4.role_arn.clone(),
        external_id: sigv4.external_id.clone(),
        session_name: sigv4.session_name.clone(),
        tags: sigv4.tags.clone(),
        use_fips_sts: sigv4.use_fips_sts_endpoint,
    };
    let aws = options.resolve().await;
    let scope = Scope {
        region: aws.region.ok_or(Problem::NoRegion)?,
        service: sigv4
            .service_name
            .clone()
            .unwrap_or_else(|| AMP_SERVICE.to_owned()),
    };
    let metrics = families.credentials.for_destination(&config.name);
    let credentials = CredentialsCache::start(aws.credentials, metrics).await;
    Ok(Some(Arc::new(Signer::new(scope, Arc::new(credentials)))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mesh_model::config::Config;

    use super::*;

    fn native(entry: &str) -> NativeHistograms {
        let text = format!("remote_write: [{{{entry}}}]");
        let config = Config::parse(&text, Path::new("p.yml"), &|_| None).unwrap();
        native_histograms(&config.remote_write[0])
    }

    #[test]
    fn sends_custom_buckets_as_classic_histograms_if_configured() {
        let url = "url: 'http://localhost/w'";
        for (entry, expected) in [
            ("", NativeHistograms::All),
            (
                ", convert_nhcb_to_classic: true",
                NativeHistograms::Exponential,
            ),
            (", send_native_histograms: false", NativeHistograms::None),
            (
                ", send_native_histograms: false, convert_nhcb_to_classic: true",
                NativeHistograms::None,
            ),
            (
                ", sigv4: {region: eu-west-1}",
                NativeHistograms::Exponential,
            ),
        ] {
            assert_eq!(native(&format!("{url}{entry}")), expected, "{entry}");
        }
    }
}
