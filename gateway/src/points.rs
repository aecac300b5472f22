//! Fields and operations that data points of all types share.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, SummaryDataPoint, metric::Data,
    },
};

/// A data point of any type.
pub(crate) trait Point {
    /// Timestamp in nanoseconds since the Unix epoch; 0 if the point has none.
    fn time(&self) -> u64;
    /// Start time in nanoseconds since the Unix epoch; 0 if the point has none.
    fn start(&self) -> u64;
    /// Attributes that distinguish the point from others of its metric.
    fn attributes(&self) -> &[KeyValue];
}

macro_rules! points {
    ($($name:ident)*) => {$(
        impl Point for $name {
            fn time(&self) -> u64 {
                self.time_unix_nano
            }

            fn start(&self) -> u64 {
                self.start_time_unix_nano
            }

            fn attributes(&self) -> &[KeyValue] {
                &self.attributes
            }
        }
    )*};
}

points!(NumberDataPoint HistogramDataPoint ExponentialHistogramDataPoint SummaryDataPoint);

/// Counts the data points of a resource.
pub(crate) fn count(resource_metrics: &ResourceMetrics) -> u64 {
    let scopes = resource_metrics.scope_metrics.iter();
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics.map(|metric| count_of(metric) as u64).sum()
}

/// Counts the data points of a metric.
pub(crate) fn count_of(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    }
}

/// Calls `visit` for each data point of a metric, in order.
pub(crate) fn for_each(metric: &Metric, mut visit: impl FnMut(&dyn Point)) {
    match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.iter().for_each(|point| visit(point)),
        Some(Data::Sum(data)) => data.data_points.iter().for_each(|point| visit(point)),
        Some(Data::Histogram(data)) => data.data_points.iter().for_each(|point| visit(point)),
        Some(Data::ExponentialHistogram(data)) => {
            data.data_points.iter().for_each(|point| visit(point));
        }
        Some(Data::Summary(data)) => data.data_points.iter().for_each(|point| visit(point)),
        None => {}
    }
}

/// Returns true if the metric is a sum or histogram of delta temporality.
pub(crate) fn is_delta(metric: &Metric) -> bool {
    let temporality = match &metric.data {
        Some(Data::Sum(data)) => data.aggregation_temporality,
        Some(Data::Histogram(data)) => data.aggregation_temporality,
        Some(Data::ExponentialHistogram(data)) => data.aggregation_temporality,
        Some(Data::Gauge(_) | Data::Summary(_)) | None => return false,
    };
    temporality == AggregationTemporality::Delta as i32
}
