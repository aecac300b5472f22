//! `scrape_configs`.

use std::{path::PathBuf, time::Duration};

use super::{
    discovery::DiscoveryConfig,
    http::{HttpClientConfig, Params},
    relabel::RelabelConfig,
};
use crate::validation::ValidationScheme;

/// An exposition format that a scrape can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// `PrometheusProto`.
    PrometheusProto,
    /// `PrometheusText0.0.4`.
    PrometheusText0_0_4,
    /// `PrometheusText1.0.0`.
    PrometheusText1_0_0,
    /// `OpenMetricsText0.0.1`.
    OpenMetricsText0_0_1,
    /// `OpenMetricsText1.0.0`.
    OpenMetricsText1_0_0,
}

/// Escaping of non-legacy names that the scraper requests from targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EscapingScheme {
    /// `allow-utf-8`: no escaping.
    #[default]
    AllowUtf8,
    /// `underscores`.
    Underscores,
    /// `dots`.
    Dots,
    /// `values`.
    Values,
}

/// One entry of `scrape_configs`, with `global` inherited.
///
/// A limit of 0 means no limit, as in Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// Unique name. It is the default of the `job` label.
    pub job_name: String,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Timeout of a scrape.
    pub scrape_timeout: Duration,
    /// Requested formats, most preferred first.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// Format to assume if the response has no valid `Content-Type`.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Store native histograms.
    pub scrape_native_histograms: bool,
    /// Store the classic histogram even if a native one exists.
    pub always_scrape_classic_histograms: bool,
    /// Store classic histograms as native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Path of the metrics endpoint. Default: `/metrics`.
    pub metrics_path: String,
    /// URL scheme, `http` or `https`. Default: `http`.
    pub scheme: String,
    /// Request gzip compression. Default: true.
    pub enable_compression: bool,
    /// Maximum size of a decompressed body in bytes.
    pub body_size_limit: u64,
    /// Maximum number of samples per scrape, after relabeling.
    pub sample_limit: u64,
    /// Maximum number of targets of the scrape configuration.
    pub target_limit: u64,
    /// Maximum number of labels per series.
    pub label_limit: u64,
    /// Maximum length of a label name in bytes.
    pub label_name_length_limit: u64,
    /// Maximum length of a label value in bytes.
    pub label_value_length_limit: u64,
    /// Maximum number of buckets of a native histogram. Larger ones are merged to a lower
    /// resolution.
    pub native_histogram_bucket_limit: u64,
    /// Minimum growth factor between native histogram buckets.
    pub native_histogram_min_bucket_factor: f64,
    /// Maximum number of dropped targets that the status page lists.
    pub keep_dropped_targets: u64,
    /// Prefer scraped labels over conflicting target labels.
    pub honor_labels: bool,
    /// Use the timestamps that the target exposes. Default: true.
    pub honor_timestamps: bool,
    /// Write staleness markers for series with exposed timestamps too.
    pub track_timestamps_staleness: bool,
    /// Query parameters of the scrape request.
    pub params: Params,
    /// Validation scheme of metric and label names.
    pub metric_name_validation_scheme: ValidationScheme,
    /// Escaping that the scrape requests for names outside the legacy character set.
    pub metric_name_escaping_scheme: EscapingScheme,
    /// Write the additional report series `scrape_timeout_seconds`, `scrape_sample_limit`
    /// and `scrape_body_size_bytes`.
    pub extra_scrape_metrics: bool,
    /// Path of the log file for failed scrapes.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// HTTP client settings for scrapes.
    pub http: HttpClientConfig,
    /// Relabeling rules for targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Relabeling rules for samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Discovery mechanisms of the targets.
    pub discovery: Vec<DiscoveryConfig>,
}
