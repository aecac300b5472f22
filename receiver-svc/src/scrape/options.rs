//! What a scrape has to know of its configuration.

use std::sync::Arc;

use mesh::config::{
    relabel::{RelabelConfig, ValidationScheme},
    scrape::{ScrapeConfig, ScrapeProtocol},
};

use super::limits::{LabelLimits, max_schema};
use crate::exposition::ParserOptions;

/// How the samples of a target become what is stored.
#[derive(Clone, Debug)]
pub struct Options {
    /// How a body is read.
    pub parser: ParserOptions,
    /// The format of a body whose target does not name one.
    pub fallback: Option<ScrapeProtocol>,
    /// An exposed label wins over one of the target's.
    pub honor_labels: bool,
    /// Exposed timestamps are taken.
    pub honor_timestamps: bool,
    /// Series with exposed timestamps get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// Rules over samples.
    pub metric_relabel_configs: Arc<[RelabelConfig]>,
    /// Which names are legal.
    pub validation_scheme: ValidationScheme,
    /// Samples a scrape may have after relabeling; 0 for any number.
    pub sample_limit: u64,
    /// What the labels of a series may be.
    pub label_limits: LabelLimits,
    /// Buckets a native histogram may have; 0 for any number.
    pub bucket_limit: u64,
    /// The finest schema of a native histogram.
    pub max_schema: i32,
    /// Three more report series are written.
    pub extra_scrape_metrics: bool,
}

// === impl Options ===

impl Options {
    /// Whether a sample becomes the same series under `other`.
    pub(crate) fn maps_alike(&self, other: &Self) -> bool {
        self.parser == other.parser
            && self.honor_labels == other.honor_labels
            && self.metric_relabel_configs == other.metric_relabel_configs
            && self.validation_scheme == other.validation_scheme
            && self.label_limits == other.label_limits
    }

    /// The options of a scrape configuration.
    ///
    /// `start_timestamps` takes `_created` samples of OpenMetrics as start times;
    /// otherwise they are series, as in Prometheus unless it is told otherwise.
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
