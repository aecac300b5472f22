//! Native histograms from single data points, and from buckets alone.

use std::path::Path;

use exporter_svc::translate::exponential::{Exponential, custom_buckets};
use mesh_model::config::remote_write::OtlpConfig;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use proto::v1::{self, histogram};
use serde_json::Value;

use super::{float, request, series, translate};
use crate::conformance::{Report, cases};

/// Finest schema. Finer scales are scaled down to it.
const MAX_SCHEMA: i32 = 8;

/// Counts of non-empty buckets, by index.
type Populated = Vec<(i64, i64)>;

pub(crate) fn histograms(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for (i, row) in cases::rows(&suites.join("otlp_prw/native_histograms.jsonl"))?
        .iter()
        .enumerate()
    {
        report.case(format!("row {i}"), || {
            let rules = OtlpConfig {
                convert_histograms_to_nhcb: true,
                ..Default::default()
            };
            let translated = translate(&request(row)?, rules)?;
            if !row["error"].is_null() {
                return cases::same(&translated.problem.is_some(), &true);
            }
            let series = series(&translated)?;
            let found = series.first().and_then(|series| series.histograms.first());
            cases::same(&found.map(text), &Some(wanted(&row["histogram"])))
        });
    }
    Ok(())
}

pub(crate) fn bucket_layouts(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for row in cases::rows(&suites.join("otlp_prw/bucket_layout.jsonl"))? {
        let number = |key: &str| row[key].as_i64().unwrap_or_default() as i32;
        let id = format!("{} by {}", cases::text(&row["case"]), number("scale_down"));
        report.case(id, || {
            let exponential = Exponential {
                scale: MAX_SCHEMA + number("scale_down"),
                positive: Buckets {
                    offset: number("offset"),
                    bucket_counts: counts(&row),
                },
                ..Default::default()
            };
            let native = exponential.to_native(0).map_err(|e| e.to_string())?;
            same_layout(&native, &row)
        });
    }
    Ok(())
}

pub(crate) fn custom_layouts(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for row in cases::rows(&suites.join("otlp_prw/nhcb_bucket_layout.jsonl"))? {
        report.case(cases::text(&row["case"]), || {
            same_layout(&custom_buckets(&counts(&row), Vec::new(), 0, None), &row)
        });
    }
    Ok(())
}

fn counts(row: &Value) -> Vec<u64> {
    let counts = cases::list(&row["bucket_counts"]).iter();
    counts.filter_map(Value::as_u64).collect()
}

/// Compares buckets. Spans can describe the same buckets in several ways.
fn same_layout(found: &v1::Histogram, row: &Value) -> Result<(), String> {
    let expected = wanted_buckets(row, "spans", "deltas", "Offset", "Length");
    cases::same(
        &buckets(&found.positive_spans, &found.positive_deltas),
        &expected,
    )
}

/// Formats a histogram.
pub(super) fn text(histogram: &v1::Histogram) -> String {
    let count = match histogram.count {
        Some(histogram::Count::CountInt(count)) => count.to_string(),
        other => format!("{other:?}"),
    };
    let zero_count = match histogram.zero_count {
        Some(histogram::ZeroCount::ZeroCountInt(count)) => count.to_string(),
        other => format!("{other:?}"),
    };
    format!(
        "{} schema {} count {count} sum {} zero {zero_count} below {} + {:?} - {:?} bounds {:?}",
        histogram.reset_hint().as_str_name().to_lowercase(),
        histogram.schema,
        float(histogram.sum),
        float(histogram.zero_threshold),
        buckets(&histogram.positive_spans, &histogram.positive_deltas),
        buckets(&histogram.negative_spans, &histogram.negative_deltas),
        histogram
            .custom_values
            .iter()
            .map(|bound| float(*bound))
            .collect::<Vec<_>>(),
    )
}

/// Expected histogram, in the same form.
pub(super) fn wanted(histogram: &Value) -> String {
    let custom_values = cases::list(&histogram["custom_values"]).iter();
    format!(
        "{} schema {} count {} sum {} zero {} below {} + {:?} - {:?} bounds {:?}",
        cases::text(&histogram["counter_reset_hint"]),
        histogram["schema"],
        histogram["count"],
        float(cases::float(&histogram["sum"])),
        histogram["zero_count"],
        float(cases::float(&histogram["zero_threshold"])),
        wanted_buckets(histogram, "positive_spans", "positive_deltas", 0, 1),
        wanted_buckets(histogram, "negative_spans", "negative_deltas", 0, 1),
        custom_values
            .map(|bound| float(cases::float(bound)))
            .collect::<Vec<_>>(),
    )
}

fn buckets(spans: &[v1::BucketSpan], deltas: &[i64]) -> Populated {
    let spans = spans.iter();
    let spans = spans.map(|span| (i64::from(span.offset), span.length.into()));
    populated(spans, deltas)
}

fn wanted_buckets<I: serde_json::value::Index>(
    histogram: &Value,
    spans: &str,
    deltas: &str,
    offset: I,
    length: I,
) -> Populated {
    let spans = cases::list(&histogram[spans]).iter().map(|span| {
        let (offset, length) = (&span[&offset], &span[&length]);
        (
            offset.as_i64().unwrap_or_default(),
            length.as_u64().unwrap_or_default(),
        )
    });
    let deltas = cases::list(&histogram[deltas]).iter();
    let deltas: Vec<_> = deltas.filter_map(Value::as_i64).collect();
    populated(spans, &deltas)
}

fn populated(spans: impl Iterator<Item = (i64, u64)>, deltas: &[i64]) -> Populated {
    let (mut index, mut count) = (0, 0);
    let mut deltas = deltas.iter();
    let mut buckets = Vec::new();
    for (offset, length) in spans {
        index += offset;
        for delta in deltas.by_ref().take(length as usize) {
            count += delta;
            buckets.push((index, count));
            index += 1;
        }
    }
    buckets.retain(|(_, count)| *count != 0);
    buckets
}
