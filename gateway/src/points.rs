//! What data points of all types have in common.

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, SummaryDataPoint, metric::Data,
    },
};

/// A data point of any type.
pub(crate) trait Point {
    /// When it was measured, nanoseconds since the Unix epoch; 0 where it does not
    /// say.
    fn time(&self) -> u64;
    /// Since when it counts, likewise.
    fn start(&self) -> u64;
    /// What tells it from others of its metric.
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

/// How many data points there are.
pub(crate) fn count(resource_metrics: &ResourceMetrics) -> u64 {
    let scopes = resource_metrics.scope_metrics.iter();
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics.map(|metric| count_of(metric) as u64).sum()
}

/// How many data points a metric has.
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

/// Shows each data point of a metric.
pub(crate) fn for_each(metric: &Metric, mut see: impl FnMut(&dyn Point)) {
    match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.iter().for_each(|point| see(point)),
        Some(Data::Sum(data)) => data.data_points.iter().for_each(|point| see(point)),
        Some(Data::Histogram(data)) => data.data_points.iter().for_each(|point| see(point)),
        Some(Data::ExponentialHistogram(data)) => {
            data.data_points.iter().for_each(|point| see(point));
        }
        Some(Data::Summary(data)) => data.data_points.iter().for_each(|point| see(point)),
        None => {}
    }
}
