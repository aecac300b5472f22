//! Translation by the OpenTelemetry Collector of the same requests.

use std::path::Path;

use mesh_model::{
    config::remote_write::{OtlpConfig, TranslationStrategy as Strategy},
    labels::Labels,
};
use proto::v1;
use serde_json::Value;

use super::{float, label_pairs, request, series, translate};
use crate::conformance::{Report, cases};

/// Rows in which it differs from Prometheus.
const DIFFERS: [usize; 2] = [29, 30];

/// Reason for the difference.
const TARGET_INFO: &str = "the collector sends target_info once, Prometheus repeatedly";

/// Settings of the collector: name, remote-write version, and equivalent strategy.
const SETTINGS: [(&str, &str, Strategy); 3] = [
    ("default", "v1", Strategy::UnderscoreEscapingWithSuffixes),
    (
        "no_suffixes",
        "v1",
        Strategy::UnderscoreEscapingWithoutSuffixes,
    ),
    ("utf8_suffixes", "v2", Strategy::NoUtf8EscapingWithSuffixes),
];

pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let rows = cases::rows(&suites.join("otlp_prw/contrib_v0.156_from_metrics.jsonl"))?;
    for (setting, version, translation_strategy) in SETTINGS {
        for (i, row) in rows.iter().enumerate() {
            let exemption = DIFFERS.contains(&i).then_some(TARGET_INFO);
            report.case_unless_exempt(format!("{setting} row {i}"), exemption, || {
                let rules = OtlpConfig {
                    translation_strategy,
                    promote_scope_metadata: true,
                    label_name_preserve_multiple_underscores: true,
                    ..Default::default()
                };
                let translated = translate(&request(row)?, rules)?;
                let found = series(&translated)?.into_iter().flat_map(comparable);
                let expected = cases::list(&row[setting][version]).iter().flat_map(wanted);
                cases::same(&sorted(found), &sorted(expected))
            });
        }
    }
    Ok(())
}

fn sorted(samples: impl Iterator<Item = String>) -> Vec<String> {
    let mut samples: Vec<_> = samples.collect();
    samples.sort();
    samples.dedup();
    samples
}

/// Samples in a common form. It contains only the schema and count of native histograms.
/// Other suites compare the rest.
fn comparable(series: v1::TimeSeries) -> Vec<String> {
    // The collector does not add this label.
    let pairs = series.labels.iter();
    let pairs = pairs.filter(|label| label.name != "otel_scope_schema_url");
    let labels: Labels = pairs.map(|label| (&*label.name, &*label.value)).collect();
    let floats = series.samples.iter();
    let floats = floats.map(|s| format!("{labels} @{} {}", s.timestamp, float(s.value)));
    let native = series.histograms.iter();
    let native = native.map(|h| format!("{labels} schema {} {:?}", h.schema, h.count));
    floats.chain(native).collect()
}

/// Expected samples, in the same form.
fn wanted(series: &Value) -> Vec<String> {
    let labels = label_pairs(&series["labels"]);
    let floats = cases::list(&series["samples"]).iter();
    let floats = floats.map(|s| format!("{labels} @{} {}", s[0], float(cases::float(&s[1]))));
    let native = cases::list(&series["histograms"]).iter().map(|histogram| {
        let count = histogram["Count"]["count_int"].as_u64().unwrap_or(0);
        let count = Some(v1::histogram::Count::CountInt(count));
        let schema = histogram["schema"].as_i64().unwrap_or(0);
        format!("{labels} schema {schema} {count:?}")
    });
    floats.chain(native).collect()
}
