//! Translates data that backends refuse, or that Prometheus stores differently.

use mesh_contract::batch::BatchContext;
use mesh_model::config::remote_write::TranslationStrategy as Strategy;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
        Histogram, HistogramDataPoint, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
};
use prost::Message;

use super::*;
use crate::{
    remote_write::part::RequestLimits,
    translate::sink::{Capabilities, NativeHistograms, Translated},
};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const SECOND: u64 = 1_000_000_000;
const STRATEGIES: [Strategy; 4] = [
    Strategy::UnderscoreEscapingWithSuffixes,
    Strategy::UnderscoreEscapingWithoutSuffixes,
    Strategy::NoUtf8EscapingWithSuffixes,
    Strategy::NoTranslation,
];

fn with(config: OtlpConfig, resource: &[&str], metrics: Vec<Metric>) -> Translated {
    within(OtlpRules::new(config), attributes(resource), metrics)
}

fn within(rules: OtlpRules, resource: Vec<KeyValue>, metrics: Vec<Metric>) -> Translated {
    let mut sink = Sink::new(Capabilities {
        native_histograms: NativeHistograms::All,
        inconsistent_histograms: false,
        exemplars: true,
        families: false,
        limits: RequestLimits {
            series: 1000,
            bytes: 1 << 20,
        },
        max_age: None,
    });
    let rewriter = LabelRewriter::new(BatchContext::default().into(), [].into());
    OtlpTranslator::new(&rules, &rewriter, &mut sink).resource_metrics(ResourceMetrics {
        resource: Some(Resource {
            attributes: resource,
            ..Default::default()
        }),
        scope_metrics: vec![ScopeMetrics {
            metrics,
            ..Default::default()
        }],
        ..Default::default()
    });
    sink.finish().0.unwrap()
}

fn translate(metrics: Vec<Metric>) -> Translated {
    with(OtlpConfig::default(), &[], metrics)
}

fn strategy(translation_strategy: Strategy) -> OtlpConfig {
    OtlpConfig {
        translation_strategy,
        ..Default::default()
    }
}

/// Attributes with these keys, each with the value `v`.
fn attributes(keys: &[&str]) -> Vec<KeyValue> {
    let pair = |key: &&str| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue("v".to_owned())),
        }),
        ..Default::default()
    };
    keys.iter().map(pair).collect()
}

fn metric(name: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn number(keys: &[&str]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(keys),
        time_unix_nano: SECOND,
        ..Default::default()
    }
}

fn gauge(name: &str, keys: &[&str]) -> Metric {
    let data_points = vec![number(keys)];
    metric(name, Data::Gauge(Gauge { data_points }))
}

fn histogram(bounds: &[f64], counts: &[u64], count: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        time_unix_nano: SECOND,
        explicit_bounds: bounds.to_vec(),
        bucket_counts: counts.to_vec(),
        count,
        ..Default::default()
    }
}

fn histograms(data_points: Vec<HistogramDataPoint>) -> Metric {
    let data = Data::Histogram(Histogram {
        data_points,
        aggregation_temporality: CUMULATIVE,
    });
    metric("h", data)
}

fn exponential(count: u64, counts: &[u64]) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        time_unix_nano: SECOND,
        count,
        positive: Some(Buckets {
            offset: 0,
            bucket_counts: counts.to_vec(),
        }),
        ..Default::default()
    }
}

fn exponentials(data_points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let data = Data::ExponentialHistogram(ExponentialHistogram {
        data_points,
        aggregation_temporality: CUMULATIVE,
    });
    metric("e", data)
}

/// Exemplars at 3, 1 and 2 seconds, all with value 1.
fn exemplars() -> Vec<Exemplar> {
    let at = |seconds| Exemplar {
        time_unix_nano: seconds * SECOND,
        value: Some(exemplar::Value::AsInt(1)),
        ..Default::default()
    };
    [3, 1, 2].map(at).into()
}

fn series(translated: &Translated) -> Vec<v1::TimeSeries> {
    let parts = translated.parts.iter().flat_map(|part| part.series());
    let series = parts.map(|(encoded, _)| v1::TimeSeries::decode(encoded).unwrap());
    series.collect()
}

/// Series as text: `name{label=value,…} value`, or `count` for native histograms.
fn stored(translated: &Translated) -> Vec<String> {
    let text = |series: v1::TimeSeries| {
        let labels = series.labels.iter();
        let pairs = labels.map(|label| format!("{}={}", label.name, label.value));
        let pairs: Vec<_> = pairs.collect();
        let float = series
            .samples
            .first()
            .map(|sample| sample.value.to_string());
        let native = || format!("{:?}", series.histograms[0].count);
        format!("{} {}", pairs.join(","), float.unwrap_or_else(native))
    };
    series(translated).into_iter().map(text).collect()
}

fn rejected(translated: &Translated) -> (&[(Reason, u64)], &str) {
    let problem = translated.problem.as_deref().unwrap_or_default();
    (&translated.rejections.rejected, problem)
}

#[test]
fn an_explicit_infinite_bound_is_one_bucket_with_the_total() {
    let point = || histogram(&[1.0, f64::INFINITY], &[20, 15, 7], 42);
    let translated = translate(vec![histograms(vec![point()])]);
    let buckets = stored(&translated);
    let buckets: Vec<_> = buckets.iter().filter(|s| s.contains("le=")).collect();
    assert_eq!(
        buckets,
        ["__name__=h_bucket,le=1 20", "__name__=h_bucket,le=+Inf 42"]
    );
    let native = OtlpConfig {
        convert_histograms_to_nhcb: true,
        ..Default::default()
    };
    let translated = with(native, &[], vec![histograms(vec![point()])]);
    let native = &series(&translated)[0].histograms[0];
    assert_eq!(native.custom_values, [1.0]);
    assert_eq!(native.positive_deltas, [20, 2]);
}

#[test]
fn rejects_the_point_of_an_attribute_without_a_key() {
    for each in STRATEGIES {
        let metrics = vec![gauge("a", &["", "k"]), gauge("b", &["k"])];
        let translated = with(strategy(each), &[], metrics);
        let expected = (
            &[(Reason::InvalidLabel, 1)][..],
            "metric a: attribute with an empty key",
        );
        assert_eq!(rejected(&translated), expected, "{each:?}");
        assert_eq!(stored(&translated), ["__name__=b,k=v 0"], "{each:?}");
    }
}

#[test]
fn rejects_the_points_of_a_metric_without_a_name() {
    for each in STRATEGIES {
        let metrics = vec![gauge("", &["k"]), gauge("b", &["k"])];
        let translated = with(strategy(each), &[], metrics);
        let expected = (&[(Reason::InvalidName, 1)][..], "metric with an empty name");
        assert_eq!(rejected(&translated), expected, "{each:?}");
        assert_eq!(stored(&translated), ["__name__=b,k=v 0"], "{each:?}");
    }
}

#[test]
fn an_untranslatable_resource_attribute_loses_only_itself() {
    let resource = ["service.name", "", "--", "region"];
    let escaped = with(OtlpConfig::default(), &resource, vec![gauge("a", &[])]);
    assert_eq!(
        stored(&escaped),
        [
            "__name__=a,job=v 0",
            "__name__=target_info,job=v,region=v 1"
        ]
    );
    let utf8 = strategy(Strategy::NoTranslation);
    let utf8 = with(utf8, &resource, vec![gauge("a", &[])]);
    assert_eq!(
        stored(&utf8),
        [
            "__name__=a,job=v 0",
            "--=v,__name__=target_info,job=v,region=v 1"
        ]
    );
}

#[test]
fn attributes_do_not_replace_the_name() {
    for each in STRATEGIES {
        let translated = with(strategy(each), &[], vec![gauge("a", &["__name__"])]);
        assert_eq!(stored(&translated), ["__name__=a 0"], "{each:?}");
    }
}

#[test]
fn rejects_an_inconsistent_native_histogram_alone() {
    let points = vec![exponential(7, &[1, 2]), exponential(3, &[1, 2])];
    let translated = translate(vec![exponentials(points), gauge("b", &[])]);
    let expected = (
        &[(Reason::InvalidHistogram, 1)][..],
        "native histogram e: count 7, but 3 observations in the buckets",
    );
    assert_eq!(rejected(&translated), expected);
    assert_eq!(
        stored(&translated),
        ["__name__=e Some(CountInt(3))", "__name__=b 0"]
    );
}

#[test]
fn a_quantile_has_one_series() {
    let at = |quantile, value| ValueAtQuantile { quantile, value };
    let point = SummaryDataPoint {
        time_unix_nano: SECOND,
        quantile_values: vec![at(0.5, 1.0), at(0.9, 2.0), at(0.5, 3.0)],
        ..Default::default()
    };
    let data_points = vec![point];
    let summary = metric("s", Data::Summary(Summary { data_points }));
    let translated = translate(vec![summary]);
    assert_eq!(
        &stored(&translated)[2..],
        ["__name__=s,quantile=0.5 1", "__name__=s,quantile=0.9 2"]
    );
}

#[test]
fn exemplars_are_in_order_of_time() {
    let exemplars = exemplars();
    let sum = Sum {
        data_points: vec![NumberDataPoint {
            exemplars: exemplars.clone(),
            ..number(&[])
        }],
        aggregation_temporality: CUMULATIVE,
        is_monotonic: true,
    };
    let classic = HistogramDataPoint {
        exemplars: exemplars.clone(),
        ..histogram(&[2.0], &[1, 0], 1)
    };
    let native = ExponentialHistogramDataPoint {
        exemplars,
        ..exponential(1, &[1])
    };
    for metric in [
        metric("c", Data::Sum(sum)),
        histograms(vec![classic]),
        exponentials(vec![native]),
    ] {
        let series = series(&translate(vec![metric]));
        let found = series.iter().find(|s| !s.exemplars.is_empty()).unwrap();
        let times: Vec<_> = found.exemplars.iter().map(|e| e.timestamp).collect();
        assert_eq!(times, [1000, 2000, 3000]);
    }
}

#[test]
fn a_staleness_marker_has_no_exemplars() {
    let mut point = number(&[]);
    point.exemplars = exemplars();
    point.flags = NO_RECORDED_VALUE;
    let sum = Sum {
        data_points: vec![point],
        aggregation_temporality: CUMULATIVE,
        is_monotonic: true,
    };
    let series = series(&translate(vec![metric("c", Data::Sum(sum))]));
    assert!(series[0].exemplars.is_empty());
}

#[test]
fn rejects_series_whose_labels_exceed_the_limits() {
    let limits = LabelLimits {
        labels: 3,
        name_bytes: 10,
        value_bytes: 20,
    };
    let resource = |service: &str| {
        let mut pairs = attributes(&["service.name"]);
        let value = any_value::Value::StringValue(service.to_owned());
        pairs[0].value = Some(AnyValue { value: Some(value) });
        pairs
    };
    let rejected = |service: &str, metrics: Vec<Metric>| {
        let rules = OtlpRules::new(OtlpConfig::default()).with_limits(limits);
        let translated = within(rules, resource(service), metrics);
        let stored: usize = translated
            .parts
            .iter()
            .map(|part| part.series_meta.len())
            .sum();
        (
            stored,
            translated.rejections.rejected,
            translated.problem.unwrap_or_default(),
        )
    };
    let ok = || gauge("m", &["a"]);
    assert_eq!(rejected("s", vec![ok()]).0, 1);
    let is = |service: &str, bad: Metric, stored, problem: &str| {
        let (found, reasons, text) = rejected(service, vec![bad, ok()]);
        assert_eq!(found, stored, "{text}");
        assert_eq!(reasons, [(Reason::LabelLimit, 2 - stored as u64)]);
        assert!(text.contains(problem), "{text}");
    };
    is("s", gauge("m", &["a", "b"]), 1, "--ingest.max-labels");
    is(
        "s",
        gauge("m", &["a_long_name"]),
        1,
        "--ingest.max-label-name-bytes",
    );
    is(
        "s",
        gauge(&"m".repeat(21), &["a"]),
        1,
        "metric name of 21 bytes",
    );
    // A label of the resource is in each of its series.
    is(&"s".repeat(21), ok(), 0, "resource: value of label \"job\"");
    let many: Vec<_> = (0..100).map(|i| i.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    is("s", gauge("m", &many), 1, "100 labels");
}
