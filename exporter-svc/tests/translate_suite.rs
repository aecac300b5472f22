//! What pushes become, against what Prometheus' own OTLP endpoint made of the
//! same bytes, sample by sample.

use std::sync::Arc;

use bytes::Bytes;
use exporter_svc::{
    remote_write::piece::{Family, RequestLimits},
    translate::{
        Translator,
        otlp::OtlpRules,
        sink::{NativeHistograms, Translated, Wants},
    },
};
use mesh::{
    batch::{Facts, Origin},
    config::remote_write::{OtlpConfig, TranslationStrategy as Strategy},
    labels::Labels,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message;
use proto::v1;
use serde_json::Value;

/// A sample as text, so that a difference can be read.
type Sample = String;

fn rows(file: &str) -> Vec<Value> {
    let suites = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/suites/otlp_prw/");
    let text = std::fs::read_to_string(format!("{suites}{file}")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn rules(settings: &Value) -> OtlpConfig {
    let flag = |name: &str| settings[name].as_bool().unwrap_or(false);
    let listed = settings["promote_or_ignore_resource_attributes"].as_array();
    let listed: Vec<_> = listed
        .into_iter()
        .flatten()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect();
    let promote_all = flag("promote_all_resource_attributes");
    let (ignored, promoted) = match promote_all {
        true => (listed, Vec::new()),
        false => (Vec::new(), listed),
    };
    OtlpConfig {
        promote_resource_attributes: promoted,
        promote_all_resource_attributes: promote_all,
        ignore_resource_attributes: ignored,
        translation_strategy: match (flag("allow_utf8"), flag("add_metric_suffixes")) {
            (false, true) => Strategy::UnderscoreEscapingWithSuffixes,
            (false, false) => Strategy::UnderscoreEscapingWithoutSuffixes,
            (true, true) => Strategy::NoUtf8EscapingWithSuffixes,
            (true, false) => Strategy::NoTranslation,
        },
        keep_identifying_resource_attributes: flag("keep_identifying_resource_attributes"),
        convert_histograms_to_nhcb: flag("convert_histograms_to_nhcb"),
        promote_scope_metadata: flag("promote_scope_metadata"),
        label_name_underscore_sanitization: flag("label_name_underscore_sanitization"),
        label_name_preserve_multiple_underscores: flag("label_name_preserve_multiple_underscores"),
    }
}

fn translate(request: &ExportMetricsServiceRequest, rules: OtlpConfig) -> Translated {
    let wants = Wants {
        native_histograms: NativeHistograms::All,
        exemplars: true,
        families: true,
        limits: RequestLimits {
            series: 100_000,
            bytes: 1 << 24,
        },
        max_age: None,
    };
    let translator = Translator::new(wants, Arc::new([]), OtlpRules::new(rules), 0);
    let facts = Facts {
        origin: Origin::Otlp,
        ..Default::default()
    };
    let resources = request.resource_metrics.iter();
    let resources: Vec<_> = resources.map(|r| Bytes::from(r.encode_to_vec())).collect();
    translator.translate(&Arc::new(facts), &resources).unwrap()
}

/// All samples, sorted.
fn samples(translated: &Translated, metadata: bool) -> Vec<Sample> {
    let mut samples = Vec::new();
    for piece in &translated.pieces {
        for (encoded, mark) in piece.series() {
            let series = v1::TimeSeries::decode(encoded).unwrap();
            let family = &piece.families[mark.family as usize];
            samples.push(made(&series, mark.start_ms, metadata.then_some(family)));
        }
    }
    samples.sort();
    samples
}

fn made(series: &v1::TimeSeries, start_ms: i64, family: Option<&Family>) -> Sample {
    let labels: Labels = series
        .labels
        .iter()
        .map(|l| (l.name.clone(), l.value.clone()))
        .collect();
    let mut text = labels.to_string();
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
            native(histogram)
        );
    }
    for exemplar in &series.exemplars {
        let labels: Labels = exemplar
            .labels
            .iter()
            .map(|l| (l.name.clone(), l.value.clone()))
            .collect();
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

fn native(histogram: &v1::Histogram) -> String {
    let count = match histogram.count {
        Some(v1::histogram::Count::CountInt(count)) => count,
        _ => panic!("an integer"),
    };
    let zero_count = match histogram.zero_count {
        Some(v1::histogram::ZeroCount::ZeroCountInt(count)) => count,
        _ => panic!("an integer"),
    };
    let buckets = |spans: &[v1::BucketSpan], deltas: &[i64]| {
        let spans: Vec<_> = spans
            .iter()
            .map(|s| (i64::from(s.offset), s.length.into()))
            .collect();
        populated(&spans, deltas)
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

/// Populated buckets by index: the same histogram can be laid out in spans in
/// more than one way.
fn populated(spans: &[(i64, u64)], deltas: &[i64]) -> Vec<(i64, i64)> {
    let (mut index, mut count) = (0, 0);
    let mut deltas = deltas.iter();
    let mut buckets = Vec::new();
    for (offset, length) in spans {
        index += offset;
        for _ in 0..*length {
            count += deltas.next().unwrap();
            buckets.push((index, count));
            index += 1;
        }
    }
    buckets.retain(|(_, count)| *count != 0);
    buckets
}

fn float(value: f64) -> String {
    match value.is_nan() {
        true => format!("NaN:{:#x}", value.to_bits()),
        false => value.to_string(),
    }
}

/// What the suite has, in the same form.
fn wanted(sample: &Value, metadata: bool) -> Sample {
    let pairs = sample["labels"].as_object().unwrap().iter();
    let labels: Labels = pairs
        .map(|(name, value)| (name, value.as_str().unwrap()))
        .collect();
    let time = sample["timestamp_ms"].as_i64().unwrap();
    let start = sample["start_timestamp_ms"].as_i64().unwrap_or(0);
    let value = match sample.get("histogram") {
        Some(histogram) => wanted_native(histogram),
        None => wanted_float(&sample["value"]),
    };
    let mut text = format!("{labels} @{time} since {start}: {value}");
    for exemplar in sample["exemplars"].as_array().into_iter().flatten() {
        let pairs = exemplar["labels"].as_array().unwrap().iter();
        let text_of = |value: &Value| value.as_str().unwrap().to_owned();
        let labels: Labels = pairs
            .map(|pair| (text_of(&pair[0]), text_of(&pair[1])))
            .collect();
        let time = exemplar["timestamp_ms"].as_i64().unwrap_or(0);
        text += &format!(" # {labels} {} @{time}", wanted_float(&exemplar["value"]));
    }
    if metadata {
        let of = &sample["metadata"];
        let metric_type = of["type"].as_str().unwrap_or("unknown");
        let (help, unit) = (
            of["help"].as_str().unwrap_or(""),
            of["unit"].as_str().unwrap_or(""),
        );
        text += &format!(" ({metric_type}, {help:?}, {unit:?})");
    }
    text
}

fn wanted_native(histogram: &Value) -> String {
    assert_eq!(histogram["kind"], "int");
    let list = |name: &str| histogram[name].as_array().unwrap().clone();
    let buckets = |spans: &str, deltas: &str| {
        let span = |span: &Value| (span[0].as_i64().unwrap(), span[1].as_u64().unwrap());
        let spans: Vec<_> = list(spans).iter().map(span).collect();
        let deltas: Vec<_> = list(deltas)
            .iter()
            .map(|delta| delta.as_i64().unwrap())
            .collect();
        populated(&spans, &deltas)
    };
    format!(
        "{} schema {} count {} sum {} zero {} below {} + {:?} - {:?} bounds {:?}",
        histogram["counter_reset_hint"].as_str().unwrap(),
        histogram["schema"],
        histogram["count"],
        wanted_float(&histogram["sum"]),
        histogram["zero_count"],
        wanted_float(&histogram["zero_threshold"]),
        buckets("positive_spans", "positive_deltas"),
        buckets("negative_spans", "negative_deltas"),
        list("custom_values")
            .iter()
            .map(wanted_float)
            .collect::<Vec<_>>(),
    )
}

fn wanted_float(value: &Value) -> String {
    let text = value.as_str().unwrap();
    match text.starts_with("NaN:") {
        true => text.to_owned(),
        false => float(text.parse().unwrap()),
    }
}

/// Why Prometheus translates a case and we do not.
fn unmet(row: &Value) -> Option<&'static str> {
    let sums = row.pointer("/otlp/resourceMetrics/0/scopeMetrics/0/metrics/0/sum");
    let unspecified = sums.is_some_and(|sum| sum["aggregationTemporality"].is_null());
    if row["settings"]["allow_delta_temporality"] == true && row["error"].is_null() {
        return Some("delta becomes cumulative in the gateway, it is never stored as it is");
    }
    if unspecified && row["level"] != "FromMetrics" {
        return Some("calls a helper past the check of temporality, which refuses it there too");
    }
    None
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn pushes_become_what_prometheus_makes_of_them() {
    let rows = rows("prometheus_from_metrics.jsonl");
    assert_eq!(rows.len(), 58);
    let (mut failures, mut listed) = (Vec::new(), 0);
    for (i, row) in rows.iter().enumerate() {
        // The helpers below FromMetrics are called without any metadata.
        let metadata = row["level"] == "FromMetrics";
        let request = serde_json::from_value(row["otlp"].clone()).unwrap();
        let translated = translate(&request, rules(&row["settings"]));
        let got = samples(&translated, metadata);
        let want = row["samples"].as_array().into_iter().flatten();
        let mut want: Vec<_> = want.map(|sample| wanted(sample, metadata)).collect();
        want.sort();
        let refused = translated.problem.is_some();
        let met = got == want && refused != row["error"].is_null();
        if met == unmet(row).is_some() {
            let difference: Vec<_> = got
                .iter()
                .filter(|sample| !want.contains(sample))
                .map(|sample| format!("  + {sample}"))
                .chain(
                    want.iter()
                        .filter(|s| !got.contains(s))
                        .map(|s| format!("  - {s}")),
                )
                .take(6)
                .collect();
            failures.push(format!(
                "row {i} {}: refused {:?}, error {}\n{}",
                row["id"],
                translated.problem,
                row["error"],
                difference.join("\n")
            ));
        }
        listed += usize::from(unmet(row).is_some());
    }
    assert!(
        failures.is_empty(),
        "{}\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert_eq!(listed, 8);
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn single_histograms_become_native_ones() {
    let rows = rows("native_histograms.jsonl");
    for row in &rows {
        let request = serde_json::from_value(row["otlp"].clone()).unwrap();
        let rules = OtlpConfig {
            convert_histograms_to_nhcb: true,
            ..Default::default()
        };
        let translated = translate(&request, rules);
        match row["error"].is_null() {
            false => assert!(translated.problem.is_some(), "{row}"),
            true => {
                let piece = &translated.pieces[0];
                let series = v1::TimeSeries::decode(piece.series().next().unwrap().0).unwrap();
                assert_eq!(
                    native(&series.histograms[0]),
                    wanted_native(&row["histogram"]),
                    "{row}"
                );
            }
        }
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn labels_of_a_point() {
    let rows = rows("create_attributes.jsonl");
    assert_eq!(rows.len(), 22);
    for row in &rows {
        let ignored = row["ignore_datapoint_attributes"].as_array();
        let ignored = |key: &str| ignored.is_some_and(|keys| keys.contains(&key.into()));
        let mut attributes = attributes(&row["datapoint_attributes"]);
        attributes.retain(|pair| !ignored(&pair.key));
        let scope = &row["scope"];
        let text = |name: &str| scope[name].as_str().unwrap_or_default().to_owned();
        let metric = Metric {
            name: row["metric_name"].as_str().unwrap().to_owned(),
            data: Some(Data::Gauge(Gauge {
                data_points: vec![NumberDataPoint {
                    attributes,
                    value: Some(number_data_point::Value::AsInt(1)),
                    ..Default::default()
                }],
            })),
            ..Default::default()
        };
        let resource = ResourceMetrics {
            resource: Some(Resource {
                attributes: self::attributes(&row["resource_attributes"]),
                ..Default::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: text("name"),
                    version: text("version"),
                    attributes: self::attributes(&scope["attributes"]),
                    ..Default::default()
                }),
                metrics: vec![metric],
                schema_url: text("schema_url"),
            }],
            ..Default::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![resource],
        };
        let translated = translate(&request, rules(&row["settings"]));
        let series =
            v1::TimeSeries::decode(translated.pieces[0].series().next().unwrap().0).unwrap();
        let got: Labels = series
            .labels
            .into_iter()
            .map(|l| (l.name, l.value))
            .collect();
        let pairs = row["expected_labels"].as_object().unwrap().iter();
        let want: Labels = pairs
            .map(|(name, value)| (name, value.as_str().unwrap()))
            .collect();
        assert_eq!(got, want, "{row}");
    }
}

fn attributes(pairs: &Value) -> Vec<KeyValue> {
    let pair = |(key, value): (&String, &Value)| KeyValue {
        key: key.clone(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(
                value.as_str().unwrap().to_owned(),
            )),
        }),
        ..Default::default()
    };
    pairs.as_object().into_iter().flatten().map(pair).collect()
}

/// Samples in the form in which both can be compared with the collector's; of
/// native histograms it is the schema and the count, the suites above know the
/// rest.
fn comparable(translated: &Translated) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (encoded, _) in translated.pieces.iter().flat_map(|piece| piece.series()) {
        let series = v1::TimeSeries::decode(encoded).unwrap();
        // The collector has no label for it.
        let labels = series
            .labels
            .into_iter()
            .filter(|l| l.name != "otel_scope_schema_url");
        let labels: Labels = labels.map(|l| (l.name, l.value)).collect();
        let floats = series.samples.iter();
        samples.extend(floats.map(|s| format!("{labels} @{} {}", s.timestamp, float(s.value))));
        let native = series.histograms.iter();
        samples.extend(native.map(|h| format!("{labels} schema {} {:?}", h.schema, h.count)));
    }
    samples.sort();
    samples.dedup();
    samples
}

/// What the collector's translator made of a row, in the same form.
fn of_collector(all: &Value) -> Vec<Sample> {
    let mut samples = Vec::new();
    for series in all.as_array().into_iter().flatten() {
        let pairs = series["labels"].as_array().unwrap().iter();
        let pairs = pairs.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        let labels: Labels = pairs.collect();
        for sample in series["samples"].as_array().into_iter().flatten() {
            samples.push(format!(
                "{labels} @{} {}",
                sample[0],
                wanted_float(&sample[1])
            ));
        }
        for histogram in series["histograms"].as_array().into_iter().flatten() {
            let count = histogram["Count"]["count_int"].as_u64().unwrap_or(0);
            let count = Some(v1::histogram::Count::CountInt(count));
            let schema = histogram["schema"].as_i64().unwrap_or(0);
            samples.push(format!("{labels} schema {schema} {count:?}"));
        }
    }
    samples.sort();
    samples.dedup();
    samples
}

/// Rows in which the collector's translator differs from Prometheus', each with
/// its reason.
const COLLECTOR_DIFFERS: &[(usize, &str)] = &[
    (
        29,
        "it sends target_info once, Prometheus every half look-back period",
    ),
    (
        30,
        "it sends target_info once, Prometheus every half look-back period",
    ),
];

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn the_collector_agrees_where_it_agrees_with_prometheus() {
    let settings = [
        ("default", "v1", Strategy::UnderscoreEscapingWithSuffixes),
        (
            "no_suffixes",
            "v1",
            Strategy::UnderscoreEscapingWithoutSuffixes,
        ),
        ("utf8_suffixes", "v2", Strategy::NoUtf8EscapingWithSuffixes),
    ];
    let rows = rows("contrib_v0.156_from_metrics.jsonl");
    assert_eq!(rows.len(), 58);
    let mut failures = Vec::new();
    for (setting, version, translation_strategy) in settings {
        for (i, row) in rows.iter().enumerate() {
            let request = serde_json::from_value(row["otlp"].clone()).unwrap();
            let rules = OtlpConfig {
                translation_strategy,
                promote_scope_metadata: true,
                label_name_preserve_multiple_underscores: true,
                ..Default::default()
            };
            let got = comparable(&translate(&request, rules));
            let want = of_collector(&row[setting][version]);
            let differs = COLLECTOR_DIFFERS.iter().any(|(row, _)| *row == i);
            if (got == want) == differs {
                failures.push(format!("{setting} {i}:\n  got {got:#?}\n  want {want:#?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
