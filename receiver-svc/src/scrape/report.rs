//! The series that a scrape reports about itself.

use std::sync::LazyLock;

use super::{
    append::{Counts, Scrape},
    sample::{Metadata, SampleValue},
    storage::Storage,
};
use crate::exposition::MetricType;

/// What a scrape reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) up: bool,
    pub(crate) duration_seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) timeout_seconds: f64,
    pub(crate) sample_limit: u64,
    /// Of the decompressed body; -1 where it was beyond its limit.
    pub(crate) body_bytes: i64,
}

/// How many of [`SERIES`] there are always; the others need
/// `extra_scrape_metrics`.
const ALWAYS: usize = 5;

static SERIES: LazyLock<[Metadata; 8]> = LazyLock::new(|| {
    [
        ("up", "1 where the target could be scraped, 0 where not.", "targets"),
        ("scrape_duration_seconds", "How long the scrape took.", "seconds"),
        ("scrape_samples_scraped", "Samples that the target exposed.", "samples"),
        (
            "scrape_samples_post_metric_relabeling",
            "Samples that were left after relabeling.",
            "samples",
        ),
        (
            "scrape_series_added",
            "Series that the scrape before did not have.",
            "series",
        ),
        ("scrape_timeout_seconds", "How long a scrape may take.", "seconds"),
        (
            "scrape_sample_limit",
            "How many samples the target may expose, 0 for any number.",
            "samples",
        ),
        (
            "scrape_body_size_bytes",
            "Size of the decompressed body, -1 where it was beyond body_size_limit, 0 where the scrape failed otherwise.",
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

/// Appends their staleness markers: the target is gone.
pub(crate) fn append_stale<S: Storage>(scrape: &mut Scrape<'_, S>, extra: bool) {
    for metadata in series(extra) {
        scrape.report(&metadata.family, None, SampleValue::Stale);
    }
}

fn series(extra: bool) -> &'static [Metadata] {
    &SERIES[..if extra { SERIES.len() } else { ALWAYS }]
}
