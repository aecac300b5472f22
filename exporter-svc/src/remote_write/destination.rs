//! One entry of `remote_write`: where series go and how they are made fit for it.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh::{
    aws::AwsOptions,
    balance::Connector,
    config::{
        relabel::{Action, RelabelConfig},
        remote_write::{OtlpConfig, ProtobufMessage, RemoteWriteConfig},
    },
    ha::REPLICA,
    http_client::{HttpClient, HttpClientError},
};
use prometheus_client::registry::Registry;
use tracing::warn;
use url::{Host, Url};

use super::{
    client::Client,
    join::{JoinConfig, Joiner},
    metrics,
    pace::PaceLimits,
    piece::RequestLimits,
};
use crate::{
    sigv4::{
        self, Scope, Signer,
        credentials::{CredentialsCache, CredentialsFamilies},
    },
    translate::{
        Translator,
        otlp::OtlpRules,
        sink::{NativeHistograms, Wants},
    },
};

/// One entry of `remote_write`, at work.
#[derive(Debug)]
pub struct Destination {
    /// Its name in logs and metrics.
    pub name: String,
    /// Makes series of OTLP bytes.
    pub translator: Translator,
    /// Takes pieces of them.
    pub joiner: Joiner,
    /// What it counts.
    pub metrics: Arc<metrics::Metrics>,
}

/// What holds for all destinations of a process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of one request at most, before compression.
    pub request_bytes: usize,
    /// How long a piece waits for others to join it.
    pub linger: Duration,
    /// Whether plain http is allowed to other hosts than this one.
    pub allow_http: bool,
    /// How large the cache of rendered labels may become.
    pub cache_bytes: usize,
    /// How backends are reached; by TCP where nothing is given.
    pub connector: Option<Connector>,
}

/// Where a destination's numbers are registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Those of requests.
    pub requests: metrics::Families,
    /// Those of credentials.
    pub credentials: CredentialsFamilies,
}

/// An entry of `remote_write` that cannot be used.
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
        "url: plain http would show every sample to the network; use https, or allow http by \
         --remote-write.allow-http"
    )]
    PlainHttp,
    #[error("url: scheme {0:?}, expected https")]
    Scheme(String),
    #[error("headers: {0:?} is not a header with a text value")]
    Header(String),
    #[error(transparent)]
    Http(#[from] HttpClientError),
    #[error(
        "write_relabel_configs: target_label {REPLICA} would make every request that of one \
         replica; the HA pair comes from the receivers' external_labels"
    )]
    Replica,
    #[error("sigv4: no region in the section, in the url, or in AWS_REGION")]
    NoRegion,
}

/// The service that AMP's requests are signed for.
const AMP_SERVICE: &str = "aps";

// === impl Registered ===

impl Registered {
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
    /// Where the entry cannot be used.
    pub async fn start(
        config: &RemoteWriteConfig,
        otlp: &OtlpConfig,
        options: &Options,
        registered: &Registered,
    ) -> Result<Self, DestinationError> {
        let started = Self::try_start(config, otlp, options, registered).await;
        started.map_err(|problem| DestinationError {
            name: config.name.clone(),
            problem,
        })
    }

    async fn try_start(
        config: &RemoteWriteConfig,
        otlp: &OtlpConfig,
        options: &Options,
        registered: &Registered,
    ) -> Result<Self, Problem> {
        check_scheme(&config.url, options.allow_http)?;
        if config.write_relabel_configs.iter().any(sets_replica) {
            return Err(Problem::Replica);
        }
        if sigv4::region_of(&config.url).is_some() && config.sigv4.is_none() {
            warn!(url = %config.url, "AMP takes signed requests only, and there is no sigv4 section");
        }
        let client = Client::new(
            config.name.clone(),
            config.url.as_str().parse()?,
            headers(config)?,
            http(config, options.connector.clone())?,
            signer(config, registered).await?,
            config.protobuf_message,
        );
        let limits = RequestLimits {
            series: config.queue.max_samples_per_send,
            bytes: options.request_bytes,
        };
        let age_limit = config.queue.sample_age_limit;
        let wants = Wants {
            native_histograms: native_histograms(config),
            exemplars: config.send_exemplars,
            families: config.protobuf_message == ProtobufMessage::V2 || config.send_metadata,
            limits,
            max_age: (!age_limit.is_zero()).then_some(age_limit),
        };
        let rules = config.write_relabel_configs.clone().into();
        let metrics = Arc::new(registered.requests.of(&config.name));
        let join = JoinConfig {
            limits,
            linger: options.linger,
            pace: PaceLimits {
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
                wants,
                rules,
                OtlpRules::new(otlp.clone()),
                options.cache_bytes,
            ),
            joiner: Joiner::spawn(Arc::new(client), join, Arc::clone(&metrics)),
            metrics,
        })
    }
}

/// Only https keeps samples to those they are for; this machine needs none.
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

fn headers(config: &RemoteWriteConfig) -> Result<HeaderMap, Problem> {
    let parse = |(name, value): (&String, &String)| {
        let header = name
            .parse::<HeaderName>()
            .ok()
            .zip(value.parse::<HeaderValue>().ok());
        header.ok_or_else(|| Problem::Header(name.clone()))
    };
    config.headers.iter().map(parse).collect()
}

fn http(
    config: &RemoteWriteConfig,
    connector: Option<Connector>,
) -> Result<HttpClient, HttpClientError> {
    let mut settings = config.http.clone();
    // A signature holds for one address only.
    settings.follow_redirects &= config.sigv4.is_none();
    HttpClient::with_connector(&settings, connector)
}

/// AMP takes native histograms, but none with custom bounds.
fn native_histograms(config: &RemoteWriteConfig) -> NativeHistograms {
    let service = config
        .sigv4
        .as_ref()
        .map(|s| s.service_name.as_deref().unwrap_or(AMP_SERVICE));
    let is_amp = sigv4::region_of(&config.url).is_some() || service == Some(AMP_SERVICE);
    match config.send_native_histograms {
        false => NativeHistograms::None,
        true if is_amp => NativeHistograms::Exponential,
        true => NativeHistograms::All,
    }
}

async fn signer(
    config: &RemoteWriteConfig,
    registered: &Registered,
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
    let metrics = registered.credentials.of(&config.name);
    let credentials = CredentialsCache::start(aws.credentials, metrics).await;
    Ok(Some(Arc::new(Signer::new(scope, Arc::new(credentials)))))
}
