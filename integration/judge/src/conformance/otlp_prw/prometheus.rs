//! Translation by Prometheus's own OTLP endpoint, sample by sample.

use std::path::Path;

use exporter_svc::{remote_write::part::Family, translate::sink::Translated};
use prost::Message;
use proto::v1;
use serde_json::Value;

use super::{float, label_pairs, labels, native, request, rules, translate};
use crate::conformance::{Report, cases};

/// Maximum number of differences shown for a row.
const SHOWN: usize = 6;

pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let rows = cases::rows(&suites.join("otlp_prw/prometheus_from_metrics.jsonl"))?;
    for (i, row) in rows.iter().enumerate() {
        let id = format!("row {i} {}", cases::text(&row["id"]));
        report.case_unless_exempt(id, exemption(row), || compare(row));
    }
    Ok(())
}

/// Reason why Prometheus translates a row and promesh does not.
fn exemption(row: &Value) -> Option<&'static str> {
    let sums = row.pointer("/otlp/resourceMetrics/0/scopeMetrics/0/metrics/0/sum");
    let unspecified = sums.is_some_and(|sum| sum["aggregationTemporality"].is_null());
    if row["settings"]["allow_delta_temporality"] == true && row["error"].is_null() {
        return Some("the gateway converts delta to cumulative temporality; delta is never stored");
    }
    if unspecified && row["level"] != "FromMetrics" {
        return Some(
            "calls a helper after the check of temporality, which rejects the row in Prometheus, too",
        );
    }
    None
}

fn compare(row: &Value) -> Result<(), String> {
    // The helpers below FromMetrics are called without metadata.
    let metadata = row["level"] == "FromMetrics";
    let translated = translate(&request(row)?, rules(&row["settings"]))?;
    let got = samples(&translated, metadata)?;
    let want = cases::list(&row["samples"]).iter();
    let mut want: Vec<_> = want.map(|sample| wanted(sample, metadata)).collect();
    want.sort();
    if got != want {
        let more = got.iter().filter(|sample| !want.contains(sample));
        let missing = want.iter().filter(|sample| !got.contains(sample));
        let shown = more.map(|sample| format!("not expected {sample}"));
        let shown = shown.chain(missing.map(|sample| format!("missing {sample}")));
        return Err(shown.take(SHOWN).collect::<Vec<_>>().join("; "));
    }
    if translated.problem.is_some() == row["error"].is_null() {
        Err(format!(
            "refused {:?}, expected {}",
            translated.problem, row["error"]
        ))
    } else {
        Ok(())
    }
}

/// All samples, sorted.
fn samples(translated: &Translated, metadata: bool) -> Result<Vec<String>, String> {
    let mut samples = Vec::new();
    for part in &translated.parts {
        for (encoded, meta) in part.series() {
            let series = v1::TimeSeries::decode(encoded).map_err(|e| e.to_string())?;
            let family = &part.families[meta.family as usize];
            samples.push(made(&series, meta.start_ms, metadata.then_some(family)));
        }
    }
    samples.sort();
    Ok(samples)
}

fn made(series: &v1::TimeSeries, start_ms: i64, family: Option<&Family>) -> String {
    let mut text = labels(&series.labels).to_string();
    for sample in &series.samples {
        text += &format!(
            " @{} since {start_ms}: {}",
            sample.timestamp,
            float(sample.value)
        );
    }
    for histogram in &series.histograms {
        text += &format!(
            " @{} since {start_ms}: {}",
            histogram.timestamp,
            native::text(histogram)
        );
    }
    for exemplar in &series.exemplars {
        let labels = labels(&exemplar.labels);
        text += &format!(
            " # {labels} {} @{}",
            float(exemplar.value),
            exemplar.timestamp
        );
    }
    if let Some(family) = family {
        let metric_type = family.metric_type.as_str_name().to_lowercase();
        text += &format!(" ({metric_type}, {:?}, {:?})", family.help, family.unit);
    }
    text
}

/// Expected sample, in the same form.
fn wanted(sample: &Value, metadata: bool) -> String {
    let labels = cases::labels(&sample["labels"]);
    let time = &sample["timestamp_ms"];
    let start = sample["start_timestamp_ms"].as_i64().unwrap_or(0);
    let value = match sample.get("histogram") {
        Some(histogram) => native::wanted(histogram),
        None => float(cases::float(&sample["value"])),
    };
    let mut text = format!("{labels} @{time} since {start}: {value}");
    for exemplar in cases::list(&sample["exemplars"]) {
        let labels = label_pairs(&exemplar["labels"]);
        let time = exemplar["timestamp_ms"].as_i64().unwrap_or(0);
        let value = float(cases::float(&exemplar["value"]));
        text += &format!(" # {labels} {value} @{time}");
    }
    if metadata {
        let of = &sample["metadata"];
        let metric_type = of["type"].as_str().unwrap_or("unknown");
        let (help, unit) = (cases::text(&of["help"]), cases::text(&of["unit"]));
        text += &format!(" ({metric_type}, {help:?}, {unit:?})");
    }
    text
}
