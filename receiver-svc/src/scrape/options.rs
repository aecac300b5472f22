//! Options of a scrape, from the scrape configuration.

use mesh_model::validation::ValidationScheme;
use std::sync::Arc;

use mesh_model::config::{
    relabel::RelabelConfig,
    scrape::{ScrapeConfig, ScrapeProtocol},
};

use super::limits::{LabelLimits, max_schema};
use crate::exposition::ParserOptions;

/// Options that determine how exposed samples are stored.
#[derive(Clone, Debug)]
pub struct Options {
    /// Options of the parser.
    pub parser: ParserOptions,
    /// Format of a body if the target sends no valid `Content-Type`.
    pub fallback: Option<ScrapeProtocol>,
    /// Prefers an exposed label over a conflicting label of the target if true.
    pub honor_labels: bool,
    /// Uses exposed timestamps if true.
    pub honor_timestamps: bool,
    /// Writes staleness markers for series with exposed timestamps too if true.
    pub track_timestamps_staleness: bool,
    /// Relabeling rules for samples.
    pub metric_relabel_configs: Arc<[RelabelConfig]>,
    /// Validation scheme of metric and label names.
    pub validation_scheme: ValidationScheme,
    /// Maximum number of samples after relabeling; 0 means no limit.
    pub sample_limit: u64,
    /// Limits of the labels of a series.
    pub label_limits: LabelLimits,
    /// Maximum number of buckets of a native histogram; 0 means no limit.
    pub bucket_limit: u64,
    /// Finest schema of a native histogram.
    pub max_schema: i32,
    /// Writes three more report series if true.
    pub extra_scrape_metrics: bool,
}

// === impl Options ===

impl Options {
    /// Returns true if each exposed series gets the same labels under `other`.
    pub(crate) fn produces_same_series(&self, other: &Self) -> bool {
        self.parser == other.parser
            && self.honor_labels == other.honor_labels
            && self.metric_relabel_configs == other.metric_relabel_configs
            && self.validation_scheme == other.validation_scheme
            && self.label_limits == other.label_limits
    }

    /// Creates the options of a scrape configuration.
    ///
    /// With `start_timestamps`, `_created` samples of OpenMetrics are start timestamps.
    /// Otherwise they are series, which is the default of Prometheus.
    pub fn new(config: &ScrapeConfig, start_timestamps: bool) -> Self {
        Self {
            parser: ParserOptions {
                native_histograms: config.scrape_native_histograms,
                classic_to_nhcb: config.convert_classic_histograms_to_nhcb,
                keep_classic: config.always_scrape_classic_histograms,
                type_and_unit_labels: false,
                start_timestamps,
            },
            fallback: config.fallback_scrape_protocol,
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            track_timestamps_staleness: config.track_timestamps_staleness,
            metric_relabel_configs: config.metric_relabel_configs.clone().into(),
            validation_scheme: config.metric_name_validation_scheme,
            sample_limit: config.sample_limit,
            label_limits: LabelLimits {
                labels: config.label_limit,
                name_length: config.label_name_length_limit,
                value_length: config.label_value_length_limit,
            },
            bucket_limit: config.native_histogram_bucket_limit,
            max_schema: max_schema(config.native_histogram_min_bucket_factor),
            extra_scrape_metrics: config.extra_scrape_metrics,
        }
    }
}
