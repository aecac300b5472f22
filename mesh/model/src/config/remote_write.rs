//! `remote_write` and `otlp`.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use super::{http::HttpClientConfig, relabel::RelabelConfig, secret::Secret};

/// Protobuf message of remote-write requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtobufMessage {
    /// `prometheus.WriteRequest`: remote write 1.0.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`: remote write 2.0.
    V2,
}

/// One entry of `remote_write`.
#[derive(Clone, Debug)]
pub struct RemoteWriteConfig {
    /// URL that requests are posted to.
    pub url: Url,
    /// Name of the destination in metrics and logs. Default: a hash of the URL.
    pub name: String,
    /// Timeout of one request. Default: 30 s.
    pub remote_timeout: Duration,
    /// Headers that are added to every request. They are not signed, so that a proxy may
    /// remove them.
    pub headers: BTreeMap<String, String>,
    /// Relabeling rules for series, applied after the external labels are added.
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// Protobuf message of the requests.
    pub protobuf_message: ProtobufMessage,
    /// Send exemplars.
    pub send_exemplars: bool,
    /// Send native histograms.
    pub send_native_histograms: bool,
    /// Log the content of failed requests at level debug.
    pub failed_request_logging: bool,
    /// Send native histograms with custom buckets as classic histograms.
    pub convert_nhcb_to_classic: bool,
    /// Sign with AWS Signature Version 4.
    pub sigv4: Option<Sigv4Config>,
    /// HTTP client settings.
    pub http: HttpClientConfig,
    /// The supported part of `queue_config`.
    pub queue: QueueConfig,
    /// `metadata_config.send`.
    pub send_metadata: bool,
    /// `metadata_config.send_interval`.
    pub metadata_send_interval: Duration,
    /// Maximum number of metric families per metadata request.
    pub metadata_per_send: usize,
}

/// `sigv4`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sigv4Config {
    /// AWS region. Default: from the URL or the environment.
    pub region: Option<String>,
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
    /// Name of the role's sessions. Default: `promesh`.
    pub session_name: Option<String>,
    /// Tags of the role's sessions.
    pub tags: BTreeMap<String, String>,
    /// Use the FIPS endpoint of STS.
    pub use_fips_sts_endpoint: bool,
    /// Service name in the signature. Default: `aps`.
    pub service_name: Option<String>,
}

/// The supported part of `queue_config`. The other keys have no effect, since an exporter
/// has no queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Maximum number of samples per request. Default: 10 000.
    pub max_samples_per_send: usize,
    /// Maximum number of requests in flight. Default: 50.
    pub max_shards: usize,
    /// Minimum backoff. Default: 30 ms.
    pub min_backoff: Duration,
    /// Maximum backoff. Default: 5 s.
    pub max_backoff: Duration,
    /// Maximum age of samples. Older samples are not sent. 0 means no limit.
    pub sample_age_limit: Duration,
}

/// Translation of OTLP names into Prometheus names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TranslationStrategy {
    /// `UnderscoreEscapingWithSuffixes`.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// `UnderscoreEscapingWithoutSuffixes`.
    UnderscoreEscapingWithoutSuffixes,
    /// `NoUTF8EscapingWithSuffixes`.
    NoUtf8EscapingWithSuffixes,
    /// `NoTranslation`.
    NoTranslation,
}

/// `otlp`: the translation of pushed OTLP data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Resource attributes that become labels of every series.
    pub promote_resource_attributes: Vec<String>,
    /// Turn all resource attributes into labels of every series.
    pub promote_all_resource_attributes: bool,
    /// Exceptions from `promote_all_resource_attributes`.
    pub ignore_resource_attributes: Vec<String>,
    /// Translation of metric and label names.
    pub translation_strategy: TranslationStrategy,
    /// Keep `service.name`, `service.namespace` and `service.instance.id` as labels of
    /// `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Store explicit-bucket histograms as native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Add the scope's name, version and attributes as labels of every series.
    pub promote_scope_metadata: bool,
    /// Prefix label names that begin with a single underscore with `key`.
    pub label_name_underscore_sanitization: bool,
    /// Keep consecutive underscores in label names.
    pub label_name_preserve_multiple_underscores: bool,
}
