use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, any_value},
    metrics::v1::{Metric, metric, number_data_point},
};
use proptest::prelude::*;

use super::decode;
use crate::{decoded::Decoded, points};

fn request(metric: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#)
}

fn one_metric(metric: &str) -> Metric {
    let decoded = decode(request(metric).as_bytes()).unwrap();
    decoded.request.resource_metrics[0].scope_metrics[0].metrics[0].clone()
}

fn error_of(metric: &str) -> String {
    decode(request(metric).as_bytes()).unwrap_err().to_string()
}

fn gauge_value(json: &str) -> Option<number_data_point::Value> {
    let metric = one_metric(&format!(r#"{{"gauge":{{"dataPoints":[{{{json}}}]}}}}"#));
    match metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points[0].value,
        other => panic!("{other:?} is not a gauge"),
    }
}

#[test]
fn reads_doubles_from_numbers_and_strings() {
    let double = |json: &str| match gauge_value(json) {
        Some(number_data_point::Value::AsDouble(v)) => v,
        other => panic!("{other:?} is not a double"),
    };
    assert_eq!(double(r#""asDouble": 1.5"#), 1.5);
    assert_eq!(double(r#""asDouble": "1.5""#), 1.5);
    assert_eq!(double(r#""asDouble": 3"#), 3.0);
    assert_eq!(double(r#""asDouble": -3"#), -3.0);
    assert_eq!(double(r#""asDouble": "Infinity""#), f64::INFINITY);
    assert_eq!(double(r#""asDouble": "-Infinity""#), f64::NEG_INFINITY);
    assert!(double(r#""asDouble": "NaN""#).is_nan());
}

#[test]
fn reads_integers_from_numbers_and_strings() {
    let int = number_data_point::Value::AsInt;
    assert_eq!(gauge_value(r#""asInt": 7"#), Some(int(7)));
    assert_eq!(gauge_value(r#""asInt": "-7""#), Some(int(-7)));
    assert_eq!(gauge_value(r#""asInt": 1e3"#), Some(int(1000)));
    let largest = format!(r#""asInt": "{}""#, i64::MAX);
    assert_eq!(gauge_value(&largest), Some(int(i64::MAX)));
}

#[test]
fn ignores_null_and_unknown_fields() {
    assert_eq!(gauge_value(r#""attributes": null, "flags": null"#), None);
    assert_eq!(gauge_value(r#""color": {"of": ["the", "moon"]}"#), None);
}

#[test]
fn reads_temporality_from_numbers_and_names() {
    for spelling in ["2", r#""AGGREGATION_TEMPORALITY_CUMULATIVE""#] {
        let metric = one_metric(&format!(
            r#"{{"sum":{{"aggregationTemporality":{spelling},"isMonotonic":true}}}}"#
        ));
        let Some(metric::Data::Sum(sum)) = metric.data else {
            panic!("{spelling}: no sum");
        };
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    }
}

#[test]
fn reads_attributes_of_every_type() {
    let body = r#"{"resourceMetrics":[{"resource":{"attributes":[
        {"key":"s","value":{"stringValue":"é"}},
        {"key":"b","value":{"boolValue":true}},
        {"key":"i","value":{"intValue":"9"}},
        {"key":"d","value":{"doubleValue":0.5}},
        {"key":"a","value":{"arrayValue":{"values":[{"intValue":1}]}}},
        {"key":"k","value":{"kvlistValue":{"values":[{"key":"x","value":{"stringValue":"y"}}]}}},
        {"key":"y","value":{"bytesValue":"_-8"}},
        {"key":"n"}]}}]}"#;
    let request = decode(body.as_bytes()).unwrap().request;
    let attributes = &request.resource_metrics[0]
        .resource
        .as_ref()
        .unwrap()
        .attributes;
    assert_eq!(attributes.len(), 8);
    let bytes = any_value::Value::BytesValue(vec![0xff, 0xef]);
    assert_eq!(attributes[6].value, Some(AnyValue { value: Some(bytes) }));
    assert_eq!(attributes[7].value, None);
}

#[test]
fn reads_exemplar_ids_in_hex() {
    let metric = one_metric(
        r#"{"gauge":{"dataPoints":[{"asInt":1,"exemplars":[
            {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","asDouble":2}]}]}}"#,
    );
    let Some(metric::Data::Gauge(gauge)) = metric.data else {
        panic!("no gauge");
    };
    let exemplar = &gauge.data_points[0].exemplars[0];
    assert_eq!((exemplar.trace_id.len(), exemplar.span_id[0]), (16, 0xee));
}

#[test]
fn errors_name_the_path_and_the_expected_value() {
    let point = |json: &str| format!(r#"{{"gauge":{{"dataPoints":[{{{json}}}]}}}}"#);
    let path = "resourceMetrics[0].scopeMetrics[0].metrics[0]";
    let cases = [
        (point(r#""asDouble":"fast""#), "expected a number"),
        (point(r#""asDouble":true"#), "expected a number"),
        (point(r#""asInt":1.5"#), "expected a signed 64-bit integer"),
        (
            point(r#""asInt":"18446744073709551615""#),
            "expected a signed 64-bit integer",
        ),
        (
            point(r#""timeUnixNano":-1"#),
            "expected an unsigned 64-bit integer",
        ),
        (
            point(r#""asInt":1,"asDouble":1"#),
            "more than one of asDouble, asInt",
        ),
        (
            point(r#""exemplars":[{"traceId":"xyz"}]"#),
            "expected an even number of hex digits",
        ),
        (
            r#"{"sum":{"aggregationTemporality":"CUMULATIVE"}}"#.into(),
            "expected 1 (AGGREGATION_TEMPORALITY_DELTA)",
        ),
        (
            r#"{"sum":{"aggregationTemporality":3}}"#.into(),
            "expected 1 (AGGREGATION_TEMPORALITY_DELTA)",
        ),
        (
            r#"{"sum":{},"gauge":{}}"#.into(),
            "more than one of gauge, sum",
        ),
    ];
    for (metric, expected) in cases {
        let error = error_of(&metric);
        assert!(error.starts_with(path), "{metric}: {error}");
        assert!(error.contains(expected), "{metric}: {error}");
        assert!(error.contains("line 1 column"), "{metric}: {error}");
    }
}

#[test]
fn rejects_bodies_that_are_not_one_object() {
    for body in ["", "[]", "{} {}", "{\"resourceMetrics\":", "\u{1f}"] {
        assert!(decode(body.as_bytes()).is_err(), "{body:?}");
    }
    assert_eq!(decode(b"{}").unwrap(), Decoded::default());
}

/// Rejections of a push of one metric: number of points and reason.
fn rejections(metric: &str) -> Vec<(u64, Reason)> {
    let decoded = decode(request(metric).as_bytes()).unwrap();
    let rejected = decoded.rejected.into_iter();
    rejected.map(|r| (r.points, r.reason)).collect()
}

#[test]
fn rejects_points_with_a_null_number_and_keeps_the_others() {
    for (kind, valid, invalid) in [
        (
            "gauge",
            r#"{"asDouble":1},{"asInt":"1"},{"asInt":1,"asDouble":null},{},
               {"asDouble":null,"flags":1}"#,
            r#"{"asDouble":null},{"asInt":null}"#,
        ),
        ("sum", r#"{"asDouble":"NaN"}"#, r#"{"asDouble":null}"#),
        (
            "histogram",
            r#"{"sum":"Infinity","min":null,"max":null,"explicitBounds":["-Infinity",1]},{}"#,
            r#"{"sum":null},{"explicitBounds":[1,null]},{"count":null},{"bucketCounts":[null,"1"]}"#,
        ),
        (
            "exponentialHistogram",
            r#"{"sum":"NaN","zeroThreshold":"0.5","min":null,"max":null},{}"#,
            r#"{"sum":null},{"zeroThreshold":null},{"zeroCount":null},
               {"negative":{"bucketCounts":[null]}}"#,
        ),
        (
            "summary",
            r#"{"sum":"NaN","quantileValues":[{"quantile":0.5,"value":"NaN"}]},{}"#,
            r#"{"sum":null},{"quantileValues":[{"quantile":null}]},
               {"quantileValues":[{"quantile":1,"value":null}]}"#,
        ),
    ] {
        let metric =
            |points: &str| format!(r#"{{"name":"m","{kind}":{{"dataPoints":[{points}]}}}}"#);
        let kept = points::count_of(&one_metric(&metric(valid)));
        assert_eq!(rejections(&metric(valid)), [], "{kind}");
        let both = metric(&format!("{valid},{invalid}"));
        assert_eq!(points::count_of(&one_metric(&both)), kept, "{kind}");
        let count = rejections(&both).first().map_or(0, |rejected| rejected.0);
        let expected = serde_json::from_str::<Vec<serde_json::Value>>(&format!("[{invalid}]"));
        assert_eq!(count as usize, expected.unwrap().len(), "{kind}");
        assert_eq!(rejections(&both), [(count, Reason::Malformed)], "{kind}");
    }
}

#[test]
fn an_exemplar_with_a_null_value_is_dropped_alone() {
    let metric = one_metric(
        r#"{"sum":{"dataPoints":[{"asInt":1,"exemplars":[
            {"asDouble":null},{"asDouble":"Infinity"},{"asInt":"3"},{}]}]}}"#,
    );
    let Some(metric::Data::Sum(sum)) = metric.data else {
        panic!("no sum");
    };
    assert_eq!(sum.data_points[0].exemplars.len(), 3);
}

#[test]
fn text_that_is_not_unicode_is_repaired() {
    let body = br#"{"resourceMetrics":[{"schemaUrl":"\udc00x","scopeMetrics":[{
        "scope":{"name":"s\ud83d","version":"\ud83d\ude00"},
        "metrics":[{"name":"a","unit":"caf@","gauge":{"dataPoints":[{"asInt":1,"attributes":[
            {"key":"k\ud83d","value":{"arrayValue":{"values":[{"stringValue":"cut \ud83d"}]}}}
        ]}]}},
        {"name":"b@","gauge":{"dataPoints":[{"asInt":1},{"asInt":null}]}},
        {"name":"c\ud83d","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#;
    let body: Vec<_> = body
        .iter()
        .map(|b| if *b == b'@' { 0xe9 } else { *b })
        .collect();
    let decoded = decode(&body).unwrap();
    assert!(decoded.is_repaired);
    let rejected: Vec<_> = decoded
        .rejected
        .iter()
        .map(|r| (&*r.metric, r.points))
        .collect();
    assert_eq!(rejected, [("b\u{fffd}", 2), ("c\u{fffd}", 1)]);
    let resource = &decoded.request.resource_metrics[0];
    assert_eq!(resource.schema_url, "\u{fffd}x");
    let scope = &resource.scope_metrics[0];
    let names = scope.scope.as_ref().map(|s| (&*s.name, &*s.version));
    assert_eq!(names, Some(("s\u{fffd}", "\u{1f600}")));
    assert_eq!(scope.metrics.len(), 1);
    assert_eq!(scope.metrics[0].unit, "caf\u{fffd}");
    let text = format!("{:?}", scope.metrics[0]);
    assert!(
        text.contains("\"k\u{fffd}\"") && text.contains("\"cut \u{fffd}\""),
        "{text}"
    );
}

proptest! {
    #[test]
    fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body);
    }

    /// Round trip with `opentelemetry-proto` as an independent encoder.
    #[test]
    fn decodes_the_output_of_opentelemetry_proto(value in any::<f64>().prop_filter("JSON has no such numbers", |v| v.is_finite()), count in any::<u64>(), name in ".{0,8}") {
        use opentelemetry_proto::tonic::metrics::v1::*;
        let point = HistogramDataPoint {
            count,
            sum: Some(value),
            bucket_counts: vec![count, 0],
            explicit_bounds: vec![value],
            time_unix_nano: count,
            ..Default::default()
        };
        let histogram = Histogram { data_points: vec![point], aggregation_temporality: 2 };
        let metric = Metric { name, data: Some(metric::Data::Histogram(histogram)), ..Default::default() };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
                ..Default::default()
            }],
        };
        let json = serde_json::to_vec(&request).unwrap();
        prop_assert_eq!(decode(&json).unwrap(), request.into());
    }
}
