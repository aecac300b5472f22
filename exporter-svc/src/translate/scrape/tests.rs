//! Compares the translator with an oracle, which decodes the same bytes with prost.

use std::sync::Arc;

use mesh_contract::batch::{BatchContext, Ha};
use mesh_model::config::relabel::{Action, RelabelConfig};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
    },
};
use proptest::{collection::vec, option, prelude::*};

use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

use super::*;
use crate::{
    remote_write::part::RequestLimits,
    translate::{
        STALE_NAN,
        exponential::CUSTOM_BUCKETS,
        sink::{Capabilities, NativeHistograms, Translated},
    },
};

const TIME: u64 = 1_700_000_000_000;

/// Series as the backend receives it: labels, milliseconds, bits of the value.
type Seen = (Vec<(String, String)>, i64, u64);

fn capabilities(native_histograms: NativeHistograms) -> Capabilities {
    Capabilities {
        native_histograms,
        inconsistent_histograms: false,
        exemplars: true,
        families: false,
        limits: RequestLimits {
            series: 1000,
            bytes: 1 << 20,
        },
        max_age: None,
    }
}

fn translate_with(
    metrics: Vec<Metric>,
    capabilities: Capabilities,
    cache: &LabelCache,
) -> Translated {
    let resource = ResourceMetrics {
        scope_metrics: vec![ScopeMetrics {
            metrics,
            ..Default::default()
        }],
        ..Default::default()
    };
    let rewriter = LabelRewriter::new(Arc::new(BatchContext::default()), Arc::new([]));
    translate_resource(&resource, &rewriter, capabilities, cache)
}

fn translate_resource(
    resource: &ResourceMetrics,
    rewriter: &LabelRewriter,
    capabilities: Capabilities,
    cache: &LabelCache,
) -> Translated {
    let mut sink = Sink::new(capabilities);
    let mut translator = ScrapeTranslator::new(rewriter, 1, cache, &mut sink);
    translator
        .resource_metrics(&resource.encode_to_vec())
        .unwrap();
    sink.finish().0.unwrap()
}

fn translate(metrics: Vec<Metric>) -> Translated {
    let cache = LabelCache::new(1 << 20);
    translate_with(metrics, capabilities(NativeHistograms::All), &cache)
}

/// Series of all parts, decoded with prost.
fn decode(translated: &Translated) -> Vec<v1::TimeSeries> {
    let requests = translated.parts.iter();
    requests
        .flat_map(|part| {
            v1::WriteRequest::decode(part.bytes.as_slice())
                .unwrap()
                .timeseries
        })
        .collect()
}

fn floats(translated: &Translated) -> Vec<Seen> {
    decode(translated)
        .into_iter()
        .flat_map(|series| {
            let labels = series.labels.into_iter().map(|l| (l.name, l.value));
            let labels: Vec<_> = labels.collect();
            let samples = series.samples.into_iter();
            samples.map(move |s| (labels.clone(), s.timestamp, s.value.to_bits()))
        })
        .collect()
}

// The oracle.

fn seen(name: &str, attributes: &[KeyValue], extra: Option<(&str, String)>, value: f64) -> Seen {
    let own = attributes
        .iter()
        .map(|kv| (kv.key.clone(), labels_text(kv)));
    let mut labels: Vec<_> = own.filter(|(_, value)| !value.is_empty()).collect();
    labels.push(("__name__".to_owned(), name.to_owned()));
    labels.extend(extra.map(|(name, value)| (name.to_owned(), value)));
    labels.sort();
    (labels, TIME as i64, value.to_bits())
}

fn labels_text(pair: &KeyValue) -> String {
    crate::translate::labels::text(pair.value.as_ref())
}

fn oracle(metric: &Metric) -> Vec<Seen> {
    let name = &metric.name;
    let value = |flags: u32, value: f64| if flags & 1 == 1 { STALE_NAN } else { value };
    match metric.data.as_ref().unwrap() {
        Data::Gauge(Gauge { data_points }) | Data::Sum(Sum { data_points, .. }) => data_points
            .iter()
            .map(|p| {
                let number = match p.value.unwrap() {
                    number_data_point::Value::AsDouble(number) => number,
                    number_data_point::Value::AsInt(number) => number as f64,
                };
                seen(name, &p.attributes, None, value(p.flags, number))
            })
            .collect(),
        Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .flat_map(|p| {
                let bucket = format!("{name}_bucket");
                let mut total = 0;
                let mut out = Vec::new();
                for (bound, count) in p.explicit_bounds.iter().zip(&p.bucket_counts) {
                    total += count;
                    let le = Some(("le", mesh_wire::float::openmetrics(*bound)));
                    out.push(seen(
                        &bucket,
                        &p.attributes,
                        le,
                        value(p.flags, total as f64),
                    ));
                }
                let count = value(p.flags, p.count as f64);
                let inf = Some(("le", "+Inf".to_owned()));
                out.push(seen(&bucket, &p.attributes, inf, count));
                let sum = value(p.flags, p.sum.unwrap());
                out.push(seen(&format!("{name}_sum"), &p.attributes, None, sum));
                out.push(seen(&format!("{name}_count"), &p.attributes, None, count));
                out
            })
            .collect(),
        Data::Summary(summary) => summary
            .data_points
            .iter()
            .flat_map(|p| {
                let quantiles = p.quantile_values.iter().map(|q| {
                    let label = ("quantile", mesh_wire::float::openmetrics(q.quantile));
                    seen(name, &p.attributes, Some(label), value(p.flags, q.value))
                });
                let sum = value(p.flags, p.sum);
                let count = value(p.flags, p.count as f64);
                let rest = [
                    seen(&format!("{name}_sum"), &p.attributes, None, sum),
                    seen(&format!("{name}_count"), &p.attributes, None, count),
                ];
                quantiles.chain(rest).collect::<Vec<_>>()
            })
            .collect(),
        Data::ExponentialHistogram(_) => Vec::new(),
    }
}

// Strategies of the property tests.

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..Default::default()
    }
}

prop_compose! {
    /// Attributes with a unique `id`, so that no series repeats.
    fn attributes()(values in vec(".{0,4}", 0..4), id: u64, sorted: bool) -> Vec<KeyValue> {
        let keys = ["job", "instance", "a", "é"];
        let named = keys.iter().zip(&values).map(|(key, value)| attribute(key, value));
        let mut all: Vec<_> = named.chain([attribute("id", &id.to_string())]).collect();
        if sorted {
            all.sort_by(|one, other| one.key.cmp(&other.key));
        }
        all
    }
}

/// Any value but negative zero, which prost does not encode.
fn value() -> impl Strategy<Value = f64> {
    any::<f64>().prop_map(|value| value + 0.0)
}

fn number_point() -> impl Strategy<Value = NumberDataPoint> {
    (attributes(), any::<u64>(), 0..2u32, any::<bool>()).prop_map(
        |(attributes, bits, flags, int)| {
            let value = if int {
                number_data_point::Value::AsInt(bits as i64)
            } else {
                number_data_point::Value::AsDouble(f64::from_bits(bits))
            };
            NumberDataPoint {
                attributes,
                value: Some(value),
                flags,
                time_unix_nano: TIME * 1_000_000,
                ..Default::default()
            }
        },
    )
}

fn histogram_point() -> impl Strategy<Value = HistogramDataPoint> {
    let buckets = vec(0u64..1 << 40, 1..6);
    (attributes(), buckets, value(), 0..2u32).prop_map(|(attributes, counts, sum, flags)| {
        HistogramDataPoint {
            attributes,
            count: counts.iter().sum(),
            sum: Some(sum),
            explicit_bounds: (1..counts.len()).map(|i| i as f64 * 0.5).collect(),
            bucket_counts: counts,
            flags,
            time_unix_nano: TIME * 1_000_000,
            ..Default::default()
        }
    })
}

fn summary_point() -> impl Strategy<Value = SummaryDataPoint> {
    let quantiles = vec(value(), 0..4);
    let rest = (any::<u32>(), value(), 0..2u32);
    (attributes(), quantiles, rest).prop_map(|(attributes, values, (count, sum, flags))| {
        let at = |(i, value)| ValueAtQuantile {
            quantile: i as f64 / 10.0,
            value,
        };
        SummaryDataPoint {
            attributes,
            count: count.into(),
            sum,
            quantile_values: values.into_iter().enumerate().map(at).collect(),
            flags,
            time_unix_nano: TIME * 1_000_000,
            ..Default::default()
        }
    })
}

/// Attributes that include conflicts with added labels.
fn conflicting_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let names = [
        "A",
        "__name__",
        "__replica__",
        "a",
        "b",
        "cluster",
        "le",
        "quantile",
        "z",
    ];
    let picked = proptest::sample::subsequence(names.to_vec(), 0..=names.len());
    let values = vec("[a-z]{0,2}", names.len());
    (picked, values, any::<bool>()).prop_map(|(names, values, reversed)| {
        let pairs = names.iter().zip(&values);
        let mut all: Vec<_> = pairs.map(|(name, value)| attribute(name, value)).collect();
        if reversed {
            all.reverse();
        }
        all
    })
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        vec(number_point(), 0..4).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        vec(number_point(), 0..4).prop_map(|data_points| Data::Sum(Sum {
            data_points,
            ..Default::default()
        })),
        vec(histogram_point(), 0..3).prop_map(|data_points| Data::Histogram(Histogram {
            data_points,
            ..Default::default()
        })),
        vec(summary_point(), 0..3).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ]
}

fn metric(data: Data) -> Metric {
    Metric {
        name: "m".to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn the_translator_agrees_with_the_oracle(names in vec("[a-z:_]{1,6}", 3), data in vec(data(), 0..4)) {
        let metrics: Vec<_> = data
            .into_iter()
            .zip(names.iter().cycle())
            .map(|(data, name)| Metric { name: name.clone(), ..metric(data) })
            .collect();
        let want: Vec<_> = metrics.iter().flat_map(oracle).collect();
        let cache = LabelCache::new(1 << 20);
        // The second translation takes everything from the cache.
        for _ in 0..2 {
            let got = translate_with(metrics.clone(), capabilities(NativeHistograms::All), &cache);
            prop_assert_eq!(got.units, want.len() as u64);
            prop_assert_eq!(floats(&got), want.clone());
        }
    }

    #[test]
    fn passthrough_and_cache_agree(
        points in vec(conflicting_attributes(), 0..4),
        data in prop_oneof![Just(0), Just(1), Just(2)],
        ha: bool,
        external in vec(("[a-z]{1,2}", "[a-z]{0,2}"), 0..3),
    ) {
        let ha = ha.then(|| Ha { cluster: "c".to_owned(), replica: "a".to_owned() });
        let external_labels = external.into_iter().collect();
        let context = Arc::new(BatchContext { ha, external_labels, ..Default::default() });
        // The rule changes nothing, but it must see all labels.
        let rule = RelabelConfig {
            regex: "no such label".parse().unwrap(),
            action: Action::LabelDrop,
            ..Default::default()
        };
        let data = match data {
            0 => Data::Gauge(Gauge {
                data_points: points
                    .into_iter()
                    .map(|attributes| NumberDataPoint { attributes, value: Some(number_data_point::Value::AsInt(1)), ..Default::default() })
                    .collect(),
            }),
            1 => Data::Histogram(Histogram {
                data_points: points
                    .into_iter()
                    .map(|attributes| HistogramDataPoint { attributes, sum: Some(1.0), explicit_bounds: vec![1.0], bucket_counts: vec![1, 2], ..Default::default() })
                    .collect(),
                ..Default::default()
            }),
            _ => Data::Summary(Summary {
                data_points: points
                    .into_iter()
                    .map(|attributes| SummaryDataPoint { attributes, quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }], ..Default::default() })
                    .collect(),
            }),
        };
        let resource = ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric(data)], ..Default::default() }],
            ..Default::default()
        };
        let [passthrough, cached] = [vec![], vec![rule]].map(|rules| {
            let rewriter = LabelRewriter::new(Arc::clone(&context), rules.into());
            floats(&translate_resource(&resource, &rewriter, capabilities(NativeHistograms::All), &LabelCache::new(1 << 20)))
        });
        prop_assert_eq!(passthrough, cached);
    }

    #[test]
    fn malformed_bytes_do_not_panic(bytes: Vec<u8>) {
        let rewriter = LabelRewriter::new(Arc::new(BatchContext::default()), Arc::new([]));
        let mut sink = Sink::new(capabilities(NativeHistograms::All));
        let cache = LabelCache::new(1 << 20);
        let _ = ScrapeTranslator::new(&rewriter, 1, &cache, &mut sink).resource_metrics(&bytes);
    }

    #[test]
    fn exponential_histograms_become_native(
        counts in vec(0u64..3, 0..20),
        offset in -10..10i32,
        sum in option::of(value()),
    ) {
        let point = ExponentialHistogramDataPoint {
            attributes: vec![attribute("job", "x")],
            count: counts.iter().sum(),
            sum,
            scale: 3,
            positive: Some(Buckets { offset, bucket_counts: counts.clone() }),
            zero_threshold: 0.5,
            time_unix_nano: TIME * 1_000_000,
            ..Default::default()
        };
        let data_points = vec![point];
        let data = Data::ExponentialHistogram(ExponentialHistogram { data_points, ..Default::default() });
        let native = decode(&translate(vec![metric(data)]))[0].histograms[0].clone();
        prop_assert_eq!((native.schema, native.timestamp), (3, TIME as i64));
        prop_assert_eq!(native.sum.to_bits(), sum.unwrap_or(0.0).to_bits());
        let want: Vec<_> = (i64::from(offset) + 1..).zip(counts).filter(|(_, n)| *n > 0).collect();
        prop_assert_eq!(populated(&native), want);
    }
}

/// Populated positive buckets of a native histogram.
fn populated(histogram: &v1::Histogram) -> Vec<(i64, u64)> {
    let (mut index, mut count) = (0i64, 0i64);
    let mut deltas = histogram.positive_deltas.iter();
    let mut out = Vec::new();
    for span in &histogram.positive_spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            count += deltas.next().unwrap();
            out.push((index, count as u64));
            index += 1;
        }
    }
    assert_eq!(deltas.next(), None);
    out.retain(|(_, count)| *count > 0);
    out
}

fn custom_buckets(flags: u32) -> Metric {
    let point = HistogramDataPoint {
        count: 6,
        sum: Some(2.5),
        explicit_bounds: vec![1.0, 2.0],
        bucket_counts: vec![1, 0, 5],
        flags,
        ..Default::default()
    };
    let data_points = vec![point];
    Metric {
        metadata: vec![attribute("prometheus.histogram", "nhcb")],
        ..metric(Data::Histogram(Histogram {
            data_points,
            ..Default::default()
        }))
    }
}

#[test]
fn custom_buckets_stay_native_if_supported() {
    let translated = translate(vec![custom_buckets(0)]);
    let native = &decode(&translated)[0].histograms[0];
    assert_eq!((native.schema, native.sum), (CUSTOM_BUCKETS, 2.5));
    assert_eq!(native.custom_values, [1.0, 2.0]);
    assert_eq!(populated(native), [(0, 1), (2, 5)]);
    assert_eq!(translated.units, 1);
}

#[test]
fn custom_buckets_become_classic_if_not_supported() {
    let cache = LabelCache::new(1 << 20);
    let capabilities = capabilities(NativeHistograms::Exponential);
    let translated = translate_with(vec![custom_buckets(0)], capabilities, &cache);
    let values: Vec<_> = floats(&translated)
        .iter()
        .map(|s| f64::from_bits(s.2))
        .collect();
    assert_eq!(values, [1.0, 1.0, 6.0, 2.5, 6.0]);
    // The receiver counted it as one sample.
    assert_eq!((translated.units, translated.parts[0].units), (1, 1));
}

#[test]
fn a_stale_native_histogram_has_a_native_marker() {
    let translated = translate(vec![custom_buckets(NO_RECORDED)]);
    let native = &decode(&translated)[0].histograms[0];
    assert_eq!(native.sum.to_bits(), STALE_NAN.to_bits());
}

const NO_RECORDED: u32 = crate::translate::NO_RECORDED_VALUE;

/// Metric that carries a histogram in its attribute.
fn carried(histogram: &v1::Histogram) -> Metric {
    let carried = KeyValue {
        key: HISTOGRAM_ATTRIBUTE.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::BytesValue(histogram.encode_to_vec())),
        }),
        ..Default::default()
    };
    let point = NumberDataPoint {
        attributes: vec![attribute("job", "x"), carried],
        value: Some(number_data_point::Value::AsDouble(f64::NAN)),
        time_unix_nano: TIME * 1_000_000,
        ..Default::default()
    };
    let data_points = vec![point];
    metric(Data::Gauge(Gauge { data_points }))
}

#[test]
fn decodes_a_native_histogram_from_its_attribute() {
    let histogram = v1::Histogram {
        count: Some(v1::histogram::Count::CountFloat(1.5)),
        sum: 3.0,
        reset_hint: v1::histogram::ResetHint::Gauge as i32,
        ..Default::default()
    };
    let series = decode(&translate(vec![carried(&histogram)])).remove(0);
    assert_eq!(series.labels.len(), 2);
    let want = v1::Histogram {
        timestamp: TIME as i64,
        ..histogram
    };
    assert_eq!(series.histograms, [want]);
}

#[test]
fn assigns_exemplars_to_their_buckets() {
    let exemplar = |value| Exemplar {
        value: Some(opentelemetry_proto::tonic::metrics::v1::exemplar::Value::AsDouble(value)),
        ..Default::default()
    };
    let point = HistogramDataPoint {
        explicit_bounds: vec![1.0],
        bucket_counts: vec![1, 2],
        exemplars: vec![exemplar(1.0), exemplar(7.0), exemplar(8.0)],
        ..Default::default()
    };
    let data_points = vec![point];
    let data = Data::Histogram(Histogram {
        data_points,
        ..Default::default()
    });
    let series = decode(&translate(vec![metric(data)]));
    let counts: Vec<_> = series.iter().map(|s| s.exemplars.len()).collect();
    assert_eq!(counts, [1, 2, 0]);
}

#[test]
fn custom_buckets_in_an_attribute_become_classic_if_not_supported() {
    // Float counts have no OTLP form, so the receiver sends the bytes.
    let histogram = v1::Histogram {
        count: Some(v1::histogram::Count::CountFloat(6.5)),
        sum: 2.5,
        schema: CUSTOM_BUCKETS,
        positive_spans: vec![
            v1::BucketSpan {
                offset: 0,
                length: 1,
            },
            v1::BucketSpan {
                offset: 1,
                length: 1,
            },
        ],
        positive_counts: vec![1.5, 5.0],
        custom_values: vec![1.0, 2.0],
        ..Default::default()
    };
    for native in [NativeHistograms::Exponential, NativeHistograms::None] {
        let cache = LabelCache::new(1 << 20);
        let carried = vec![carried(&histogram)];
        let translated = translate_with(carried, capabilities(native), &cache);
        let values: Vec<_> = floats(&translated)
            .iter()
            .map(|s| f64::from_bits(s.2))
            .collect();
        assert_eq!(values, [1.5, 1.5, 6.5, 2.5, 6.5]);
        assert_eq!((translated.units, translated.parts[0].units), (1, 1));
    }
}

#[test]
fn rejects_native_histograms_that_are_not_supported() {
    let data_points = vec![ExponentialHistogramDataPoint::default()];
    let data = Data::ExponentialHistogram(ExponentialHistogram {
        data_points,
        ..Default::default()
    });
    let cache = LabelCache::new(1 << 20);
    let capabilities = capabilities(NativeHistograms::None);
    let translated = translate_with(vec![metric(data)], capabilities, &cache);
    assert_eq!(translated.rejections.rejected, [(Reason::Unsupported, 1)]);
    assert!(translated.problem.unwrap().contains("schema 0"));
}
