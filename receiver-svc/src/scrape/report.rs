//! Report series, such as `up`: series about the scrape itself.

use std::sync::LazyLock;

use super::{
    append::{Counts, Scrape},
    storage::Storage,
};
use crate::{
    exposition::MetricType,
    samples::{Metadata, SampleValue},
};

/// Values of the report series of one scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) up: bool,
    pub(crate) duration_seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) timeout_seconds: f64,
    pub(crate) sample_limit: u64,
    /// Size of the decompressed body; -1 if it exceeded its limit.
    pub(crate) body_bytes: i64,
}

/// Number of [`SERIES`] that every scrape has; the others need `extra_scrape_metrics`.
const ALWAYS: usize = 5;

static SERIES: LazyLock<[Metadata; 8]> = LazyLock::new(|| {
    [
        ("up", "1 if the scrape succeeded, 0 if it failed.", "targets"),
        ("scrape_duration_seconds", "Duration of the scrape.", "seconds"),
        ("scrape_samples_scraped", "Number of samples that the target exposed.", "samples"),
        (
            "scrape_samples_post_metric_relabeling",
            "Number of samples after metric relabeling.",
            "samples",
        ),
        (
            "scrape_series_added",
            "Number of series that the previous scrape did not have.",
            "series",
        ),
        ("scrape_timeout_seconds", "Timeout of the scrape.", "seconds"),
        (
            "scrape_sample_limit",
            "Maximum number of samples that the target may expose, 0 for no limit.",
            "samples",
        ),
        (
            "scrape_body_size_bytes",
            "Size of the decompressed body, -1 if it exceeded body_size_limit, 0 if the scrape failed for another reason.",
            "bytes",
        ),
    ]
    .map(|(family, help, unit)| Metadata {
        family: family.to_owned(),
        metric_type: MetricType::Gauge,
        help: help.to_owned(),
        unit: unit.to_owned(),
    })
});

/// Appends the report series of a scrape.
pub(crate) fn append<S: Storage>(scrape: &mut Scrape<'_, S>, report: &Report, extra: bool) {
    let values = [
        f64::from(u8::from(report.up)),
        report.duration_seconds,
        report.counts.scraped as f64,
        report.counts.added as f64,
        report.counts.series_added as f64,
        report.timeout_seconds,
        report.sample_limit as f64,
        report.body_bytes as f64,
    ];
    for (metadata, value) in series(extra).iter().zip(values) {
        scrape.report(&metadata.family, Some(metadata), SampleValue::Float(value));
    }
}

/// Appends staleness markers for the report series of a removed target.
pub(crate) fn append_stale<S: Storage>(scrape: &mut Scrape<'_, S>, extra: bool) {
    for metadata in series(extra) {
        scrape.report(&metadata.family, None, SampleValue::Stale);
    }
}

fn series(extra: bool) -> &'static [Metadata] {
    &SERIES[..if extra { SERIES.len() } else { ALWAYS }]
}
