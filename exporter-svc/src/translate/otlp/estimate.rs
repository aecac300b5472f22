//! Estimates the bytes of a resource's series before they are written.

use std::iter::once;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{ExponentialHistogramDataPoint, Metric, ResourceMetrics, metric::Data},
};

/// Bytes of a series beside the texts of its labels: its sample, and its place in a part.
const SERIES: usize = 128;
/// Bytes of a label beside its texts.
const LABEL: usize = 8;

/// Estimates the bytes of all series of a resource. `shared` is the number of bytes of the labels
/// that all of them have, and `classic` is set if exponential histograms become classic ones.
pub(super) fn series_bytes(resource: &ResourceMetrics, shared: usize, classic: bool) -> usize {
    let scopes = resource.scope_metrics.iter();
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    let bytes = metrics.map(|metric| of_metric(metric, shared, classic));
    bytes.fold(0, usize::saturating_add)
}

fn of_metric(metric: &Metric, shared: usize, classic: bool) -> usize {
    let base = shared.saturating_add(metric.name.len() + SERIES);
    let of_points = |points: &mut dyn Iterator<Item = (&[KeyValue], usize)>| {
        let bytes =
            points.map(|(own, series)| base.saturating_add(labels(own)).saturating_mul(series));
        bytes.fold(0, usize::saturating_add)
    };
    match &metric.data {
        None => 0,
        Some(Data::Gauge(data)) => {
            of_points(&mut data.data_points.iter().map(|point| (&*point.attributes, 1)))
        }
        Some(Data::Sum(data)) => {
            of_points(&mut data.data_points.iter().map(|point| (&*point.attributes, 1)))
        }
        Some(Data::Histogram(data)) => of_points(&mut data.data_points.iter().map(|point| {
            // A bucket for each bound and for infinity, the sum and the count.
            (&*point.attributes, point.explicit_bounds.len() + 3)
        })),
        Some(Data::ExponentialHistogram(data)) => {
            of_points(&mut data.data_points.iter().map(|point| {
                let series = if classic { buckets(point) + 4 } else { 1 };
                (&*point.attributes, series)
            }))
        }
        Some(Data::Summary(data)) => of_points(
            &mut data
                .data_points
                .iter()
                .map(|point| (&*point.attributes, point.quantile_values.len() + 2)),
        ),
    }
}

fn buckets(point: &ExponentialHistogramDataPoint) -> usize {
    let sides = point.positive.iter().chain(&point.negative);
    sides.map(|side| side.bucket_counts.len()).sum()
}

fn labels(pairs: &[KeyValue]) -> usize {
    let label = |pair: &KeyValue| pair.key.len() + LABEL + pair.value.as_ref().map_or(0, text);
    pairs.iter().map(label).sum()
}

/// Estimated bytes of a value as a label value.
fn text(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::StringValue(text)) => text.len(),
        Some(Value::BytesValue(bytes)) => bytes.len() / 3 * 4 + 4,
        Some(Value::ArrayValue(array)) => array.values.iter().map(text).chain(once(2)).sum(),
        Some(Value::KvlistValue(list)) => labels(&list.values),
        _ => LABEL,
    }
}
