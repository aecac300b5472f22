//! `remote_write` and `otlp`.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use super::{Secret, http::HttpClientConfig, relabel::RelabelConfig};

/// Which remote-write message a destination is sent.
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
    /// Where requests are posted.
    pub url: Url,
    /// Its name in metrics and logs; the URL's hash unless given.
    pub name: String,
    /// Time one post may take; 30 s unless given.
    pub remote_timeout: Duration,
    /// Headers added to every request, before signing.
    pub headers: BTreeMap<String, String>,
    /// Rules over series, after external labels.
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// Which message is sent.
    pub protobuf_message: ProtobufMessage,
    /// Send exemplars.
    pub send_exemplars: bool,
    /// Send native histograms.
    pub send_native_histograms: bool,
    /// Sign with AWS Signature Version 4.
    pub sigv4: Option<Sigv4Config>,
    /// How the destination is reached.
    pub http: HttpClientConfig,
    /// The part of `queue_config` that has a meaning here.
    pub queue: QueueConfig,
    /// `metadata_config.send`.
    pub send_metadata: bool,
    /// `metadata_config.send_interval`.
    pub metadata_send_interval: Duration,
    /// Metric families whose metadata one request carries at most.
    pub metadata_per_send: usize,
}

/// `sigv4`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sigv4Config {
    /// Region; from the URL or the environment unless given.
    pub region: Option<String>,
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
    /// Use the FIPS endpoint of STS.
    pub use_fips_sts_endpoint: bool,
    /// Service name signed for; `aps` unless given.
    pub service_name: Option<String>,
}

/// The part of `queue_config` that has a meaning in a mesh without queues in
/// the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Samples of one request at most; 10 000 unless given.
    pub max_samples_per_send: usize,
    /// Requests in flight at most; 50 unless given (`max_shards`).
    pub max_shards: usize,
    /// Shortest back-off; 30 ms unless given.
    pub min_backoff: Duration,
    /// Longest back-off; 5 s unless given.
    pub max_backoff: Duration,
    /// Samples older than this are not sent; 0 for no limit of its own.
    pub sample_age_limit: Duration,
}

/// How OTLP names become Prometheus names.
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

/// `otlp`: how pushed data is translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Resource attributes that become labels of every series.
    pub promote_resource_attributes: Vec<String>,
    /// Make labels of all resource attributes.
    pub promote_all_resource_attributes: bool,
    /// Except these.
    pub ignore_resource_attributes: Vec<String>,
    /// How names are translated.
    pub translation_strategy: TranslationStrategy,
    /// Keep `service.name` and its kin on `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Store explicit-bucket histograms as native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Put scope name, version and attributes on every series.
    pub promote_scope_metadata: bool,
    /// Replace leading underscores of label names by `key_`.
    pub label_name_underscore_sanitization: bool,
    /// Keep runs of underscores in label names.
    pub label_name_preserve_multiple_underscores: bool,
}
