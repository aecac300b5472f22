//! Minimal reader of a scrape's samples in OTLP (ARCHITECTURE.md, "Scraped samples in
//! OTLP").

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
        SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point,
    },
};
use prost::Message;
use proto::v1::{self, histogram};
use receiver_svc::otlp::HISTOGRAM_ATTRIBUTE;

/// Sample in a form that compares bit for bit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReadSample {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) time_ms: i64,
    pub(crate) start_ms: Option<i64>,
    pub(crate) value: ReadValue,
    pub(crate) exemplars: Vec<ReadExemplar>,
    /// Family, type, help and unit.
    pub(crate) metadata: Option<[String; 4]>,
}

/// Timestamp, labels and bits of the value.
pub(crate) type ReadExemplar = (i64, Vec<(String, String)>, u64);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReadValue {
    /// A float, by its bits.
    Float(u64),
    Histogram(Box<v1::Histogram>),
    Stale,
}

impl Default for ReadValue {
    fn default() -> Self {
        Self::Float(0)
    }
}

/// Reads the samples of an encoded request.
pub(crate) fn read(request: &[u8]) -> Vec<ReadSample> {
    let request = ExportMetricsServiceRequest::decode(request).unwrap();
    let scopes = request
        .resource_metrics
        .into_iter()
        .flat_map(|r| r.scope_metrics);
    let metrics = scopes.flat_map(|scope| scope.metrics);
    metrics.flat_map(|metric| samples(&metric)).collect()
}

fn samples(metric: &Metric) -> Vec<ReadSample> {
    let nhcb = text(&metric.metadata, "prometheus.histogram").as_deref() == Some("nhcb");
    let mut samples = match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => numbers(metric, &gauge.data_points),
        Data::Sum(sum) => numbers(metric, &sum.data_points),
        Data::Histogram(data) if nhcb => data
            .data_points
            .iter()
            .map(|p| custom_buckets(metric, p))
            .collect(),
        Data::Histogram(data) => data
            .data_points
            .iter()
            .flat_map(|p| classic(metric, p))
            .collect(),
        Data::ExponentialHistogram(data) => data
            .data_points
            .iter()
            .map(|p| exponential(metric, p))
            .collect(),
        Data::Summary(data) => data
            .data_points
            .iter()
            .flat_map(|p| summary(metric, p))
            .collect(),
    };
    let metadata = text(&metric.metadata, "prometheus.type").map(|metric_type| {
        let family = text(&metric.metadata, "prometheus.family");
        let family = family.unwrap_or_else(|| metric.name.clone());
        [
            family,
            metric_type,
            metric.description.clone(),
            metric.unit.clone(),
        ]
    });
    for sample in &mut samples {
        sample.metadata.clone_from(&metadata);
    }
    samples
}

fn numbers(metric: &Metric, points: &[NumberDataPoint]) -> Vec<ReadSample> {
    points.iter().map(|point| number(metric, point)).collect()
}

fn number(metric: &Metric, point: &NumberDataPoint) -> ReadSample {
    let histogram = point
        .attributes
        .iter()
        .find(|kv| kv.key == HISTOGRAM_ATTRIBUTE);
    let value = match (&point.value, histogram) {
        (_, Some(kv)) => {
            let Some(Value::BytesValue(bytes)) = value(kv) else {
                panic!("{kv:?}")
            };
            ReadValue::Histogram(Box::new(v1::Histogram::decode(bytes.as_slice()).unwrap()))
        }
        _ if point.flags & 1 != 0 => ReadValue::Stale,
        (Some(number_data_point::Value::AsDouble(value)), None) => {
            ReadValue::Float(value.to_bits())
        }
        other => panic!("{other:?}"),
    };
    ReadSample {
        labels: labels(&metric.name, &point.attributes, None),
        value,
        exemplars: exemplars(&point.exemplars),
        ..at(point.time_unix_nano, point.start_time_unix_nano)
    }
}

fn classic(metric: &Metric, point: &HistogramDataPoint) -> Vec<ReadSample> {
    let base = at(point.time_unix_nano, point.start_time_unix_nano);
    let sample = |suffix: &str, le: Option<f64>, value: f64, exemplars| ReadSample {
        labels: labels(
            &format!("{}{suffix}", metric.name),
            &point.attributes,
            le.map(|le| ("le", mesh_wire::float::openmetrics(le))),
        ),
        value: ReadValue::Float(value.to_bits()),
        exemplars,
        ..base.clone()
    };
    let mut samples = Vec::new();
    let (mut cumulative, mut lower_bound) = (0, f64::NEG_INFINITY);
    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(&point.bucket_counts) {
        cumulative += count;
        let inside = point.exemplars.iter().filter(|e| {
            let value = exemplar_value(e);
            value > lower_bound && value <= bound
        });
        let exemplars = exemplars(&inside.cloned().collect::<Vec<_>>());
        samples.push(sample("_bucket", Some(bound), cumulative as f64, exemplars));
        lower_bound = bound;
    }
    assert_eq!(cumulative, point.count);
    samples.push(sample("_sum", None, point.sum.unwrap(), Vec::new()));
    samples.push(sample("_count", None, point.count as f64, Vec::new()));
    samples
}

fn summary(metric: &Metric, point: &SummaryDataPoint) -> Vec<ReadSample> {
    let base = at(point.time_unix_nano, point.start_time_unix_nano);
    let sample = |suffix: &str, quantile: Option<f64>, value: f64| ReadSample {
        labels: labels(
            &format!("{}{suffix}", metric.name),
            &point.attributes,
            quantile.map(|quantile| ("quantile", mesh_wire::float::openmetrics(quantile))),
        ),
        value: ReadValue::Float(value.to_bits()),
        ..base.clone()
    };
    let quantiles = point.quantile_values.iter();
    let quantiles = quantiles.map(|at| sample("", Some(at.quantile), at.value));
    let totals = [
        sample("_sum", None, point.sum),
        sample("_count", None, point.count as f64),
    ];
    quantiles.chain(totals).collect()
}

fn custom_buckets(metric: &Metric, point: &HistogramDataPoint) -> ReadSample {
    let (positive_spans, positive_deltas) = spans(0, &point.bucket_counts);
    let histogram = v1::Histogram {
        count: Some(histogram::Count::CountInt(point.count)),
        zero_count: Some(histogram::ZeroCount::ZeroCountInt(0)),
        sum: point.sum.unwrap(),
        schema: -53,
        positive_spans,
        positive_deltas,
        custom_values: point.explicit_bounds.clone(),
        ..Default::default()
    };
    ReadSample {
        labels: labels(&metric.name, &point.attributes, None),
        value: ReadValue::Histogram(Box::new(histogram)),
        exemplars: exemplars(&point.exemplars),
        ..at(point.time_unix_nano, point.start_time_unix_nano)
    }
}

fn exponential(metric: &Metric, point: &ExponentialHistogramDataPoint) -> ReadSample {
    let spans_of = |buckets: &Option<Buckets>| match buckets {
        Some(buckets) => spans(buckets.offset + 1, &buckets.bucket_counts),
        None => (Vec::new(), Vec::new()),
    };
    let (positive_spans, positive_deltas) = spans_of(&point.positive);
    let (negative_spans, negative_deltas) = spans_of(&point.negative);
    let histogram = v1::Histogram {
        count: Some(histogram::Count::CountInt(point.count)),
        zero_count: Some(histogram::ZeroCount::ZeroCountInt(point.zero_count)),
        sum: point.sum.unwrap(),
        schema: point.scale,
        zero_threshold: point.zero_threshold,
        positive_spans,
        positive_deltas,
        negative_spans,
        negative_deltas,
        ..Default::default()
    };
    ReadSample {
        labels: labels(&metric.name, &point.attributes, None),
        value: ReadValue::Histogram(Box::new(histogram)),
        exemplars: exemplars(&point.exemplars),
        ..at(point.time_unix_nano, point.start_time_unix_nano)
    }
}

/// Returns the spans of populated buckets and the differences of their counts.
fn spans(first: i32, counts: &[u64]) -> (Vec<v1::BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<v1::BucketSpan>::new(), Vec::new());
    let (mut end, mut previous) = (0, 0);
    for (index, &count) in (first..).zip(counts).filter(|(_, count)| **count > 0) {
        match spans.last_mut() {
            Some(span) if index == end => span.length += 1,
            _ => spans.push(v1::BucketSpan {
                offset: index - end,
                length: 1,
            }),
        }
        deltas.push(count as i64 - previous);
        (end, previous) = (index + 1, count as i64);
    }
    (spans, deltas)
}

fn at(time: u64, start: u64) -> ReadSample {
    ReadSample {
        time_ms: (time / 1_000_000) as i64,
        start_ms: (start > 0).then_some((start / 1_000_000) as i64),
        ..ReadSample::default()
    }
}

fn labels(
    name: &str,
    attributes: &[KeyValue],
    extra: Option<(&str, String)>,
) -> Vec<(String, String)> {
    let attributes = attributes.iter().filter(|kv| kv.key != HISTOGRAM_ATTRIBUTE);
    assert!(
        attributes.clone().map(|kv| &kv.key).is_sorted(),
        "attributes in order"
    );
    let pairs = attributes.map(|kv| (kv.key.clone(), text_of(kv)));
    let name = ("__name__".to_owned(), name.to_owned());
    let extra = extra.map(|(name, value)| (name.to_owned(), value));
    let mut labels: Vec<_> = pairs.chain([name]).chain(extra).collect();
    labels.sort();
    labels
}

fn exemplars(exemplars: &[opentelemetry_proto::tonic::metrics::v1::Exemplar]) -> Vec<ReadExemplar> {
    let read = exemplars.iter().map(|e| {
        let ids = [("span_id", &e.span_id), ("trace_id", &e.trace_id)].into_iter();
        let ids = ids.filter(|(_, id)| !id.is_empty());
        let ids = ids.map(|(name, id)| {
            let hex = id.iter().map(|byte| format!("{byte:02x}")).collect();
            (name.to_owned(), hex)
        });
        let others = e
            .filtered_attributes
            .iter()
            .map(|kv| (kv.key.clone(), text_of(kv)));
        let mut labels: Vec<_> = ids.chain(others).collect();
        labels.sort();
        (
            (e.time_unix_nano / 1_000_000) as i64,
            labels,
            exemplar_value(e).to_bits(),
        )
    });
    read.collect()
}

fn exemplar_value(exemplar: &opentelemetry_proto::tonic::metrics::v1::Exemplar) -> f64 {
    match exemplar.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    attributes.iter().find(|kv| kv.key == key).map(text_of)
}

fn text_of(kv: &KeyValue) -> String {
    match value(kv) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn value(kv: &KeyValue) -> Option<&Value> {
    kv.value.as_ref()?.value.as_ref()
}
