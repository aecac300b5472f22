//! Prometheus name, type and unit of an OTLP metric.

use mesh_contract::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric::Data};
use proto::v1::metric_metadata::MetricType;

use crate::{
    remote_write::part::Family,
    translate::name::{self, Kind, Namer},
};

/// Describes a metric, or returns why its points cannot be translated.
pub(super) fn describe(namer: &Namer, metric: &Metric) -> Result<Family, (Reason, String)> {
    let (kind, metric_type, temporality) = match &metric.data {
        None => {
            let problem = format!("metric {:?} has no data", metric.name);
            return Err((Reason::Unsupported, problem));
        }
        Some(Data::Gauge(_)) => (Kind::Gauge, MetricType::Gauge, None),
        Some(Data::Sum(sum)) if sum.is_monotonic => (
            Kind::Counter,
            MetricType::Counter,
            Some(sum.aggregation_temporality),
        ),
        Some(Data::Sum(sum)) => (
            Kind::Other,
            MetricType::Gauge,
            Some(sum.aggregation_temporality),
        ),
        Some(Data::Histogram(data)) => (
            Kind::Other,
            MetricType::Histogram,
            Some(data.aggregation_temporality),
        ),
        Some(Data::ExponentialHistogram(data)) => (
            Kind::Other,
            MetricType::Histogram,
            Some(data.aggregation_temporality),
        ),
        Some(Data::Summary(_)) => (Kind::Other, MetricType::Summary, None),
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    if let Some(temporality) = temporality.filter(|temporality| *temporality != cumulative) {
        let found = AggregationTemporality::try_from(temporality)
            .map_or("unknown", |temporality| temporality.as_str_name());
        let problem = format!(
            "metric {:?}: temporality {found}, expected AGGREGATION_TEMPORALITY_CUMULATIVE",
            metric.name
        );
        return Err((Reason::Unsupported, problem));
    }
    let name = namer.metric(&metric.name, &metric.unit, kind);
    Ok(Family {
        name: name.map_err(|error| (Reason::InvalidName, error.to_string()))?,
        metric_type,
        help: metric.description.clone(),
        unit: name::unit(&metric.unit),
    })
}

/// Timestamps of a metric's data points in nanoseconds since the Unix epoch.
pub(super) fn times(metric: &Metric) -> Vec<u64> {
    match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(data)) => data.data_points.iter().map(|p| p.time_unix_nano).collect(),
        Some(Data::Sum(data)) => data.data_points.iter().map(|p| p.time_unix_nano).collect(),
        Some(Data::Histogram(data)) => data.data_points.iter().map(|p| p.time_unix_nano).collect(),
        Some(Data::ExponentialHistogram(data)) => {
            data.data_points.iter().map(|p| p.time_unix_nano).collect()
        }
        Some(Data::Summary(data)) => data.data_points.iter().map(|p| p.time_unix_nano).collect(),
    }
}
