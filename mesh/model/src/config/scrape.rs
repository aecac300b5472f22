//! `scrape_configs`.

use crate::validation::ValidationScheme;
use std::{path::PathBuf, time::Duration};

use super::{Params, discovery::DiscoveryConfig, http::HttpClientConfig, relabel::RelabelConfig};

/// An exposition format that a scrape may ask for.
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

/// How a target is asked to write names that are not legacy names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EscapingScheme {
    /// `allow-utf-8`: not at all.
    #[default]
    AllowUtf8,
    /// `underscores`.
    Underscores,
    /// `dots`.
    Dots,
    /// `values`.
    Values,
}

/// One entry of `scrape_configs`, `global` inherited.
///
/// A limit of 0 is no limit, as in Prometheus.
#[derive(Clone, Debug)]
pub struct ScrapeConfig {
    /// Unique name; the default of the `job` label.
    pub job_name: String,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Time a scrape may take.
    pub scrape_timeout: Duration,
    /// Formats asked for, the preferred first.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// Format assumed where the target does not name one.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Store native histograms.
    pub scrape_native_histograms: bool,
    /// Store classic histograms also where a native one is there.
    pub always_scrape_classic_histograms: bool,
    /// Store classic histograms as native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Path of the metrics endpoint.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Ask for gzip.
    pub enable_compression: bool,
    /// Bytes of a body, decompressed.
    pub body_size_limit: u64,
    /// Samples of a scrape, after relabeling.
    pub sample_limit: u64,
    /// Targets of the whole scrape configuration.
    pub target_limit: u64,
    /// Labels of a series.
    pub label_limit: u64,
    /// Bytes of a label name.
    pub label_name_length_limit: u64,
    /// Bytes of a label value.
    pub label_value_length_limit: u64,
    /// Buckets of a native histogram; it is merged down to fit.
    pub native_histogram_bucket_limit: u64,
    /// Smallest growth factor from one native bucket to the next.
    pub native_histogram_min_bucket_factor: f64,
    /// Dropped targets that are remembered for the status page.
    pub keep_dropped_targets: u64,
    /// A scraped label wins over a target's.
    pub honor_labels: bool,
    /// A scraped timestamp is kept.
    pub honor_timestamps: bool,
    /// Write staleness markers also for series with scraped timestamps.
    pub track_timestamps_staleness: bool,
    /// Query parameters.
    pub params: Params,
    /// Which metric and label names are taken.
    pub metric_name_validation_scheme: ValidationScheme,
    /// How a target is asked to write other names.
    pub metric_name_escaping_scheme: EscapingScheme,
    /// Write the three more report series.
    pub extra_scrape_metrics: bool,
    /// File that failed scrapes are appended to.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// How targets are reached.
    pub http: HttpClientConfig,
    /// Rules over targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules over samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Where targets come from.
    pub discovery: Vec<DiscoveryConfig>,
}
