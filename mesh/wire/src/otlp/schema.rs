//! Message types of an OTLP metrics request, for walks over encoded requests.

/// A message type of a metrics request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ExportMetricsServiceRequest`.
    Request,
    /// `ResourceMetrics`.
    ResourceMetrics,
    /// `Resource`.
    Resource,
    /// `ScopeMetrics`.
    ScopeMetrics,
    /// `InstrumentationScope`.
    Scope,
    /// `Metric`.
    Metric,
    /// `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`: a list of points.
    Points(Point),
    /// A data point.
    Point(Point),
    /// `ExponentialHistogramDataPoint.Buckets`.
    Buckets,
    /// `SummaryDataPoint.ValueAtQuantile`.
    Quantile,
    /// `Exemplar`.
    Exemplar,
    /// `KeyValue`.
    KeyValue,
    /// `AnyValue`.
    AnyValue,
    /// `ArrayValue`.
    Values,
    /// `KeyValueList`.
    Pairs,
    /// `EntityRef`.
    EntityRef,
}

/// Type of a data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// `NumberDataPoint`.
    Number,
    /// `HistogramDataPoint`.
    Histogram,
    /// `ExponentialHistogramDataPoint`.
    Exponential,
    /// `SummaryDataPoint`.
    Summary,
}

// === impl Kind ===

impl Kind {
    /// Returns the type of the message in field number `field`; `None` for other fields.
    pub fn child(self, field: u32) -> Option<Self> {
        Some(match (self, field) {
            (Self::Request, 1) => Self::ResourceMetrics,
            (Self::ResourceMetrics, 1) => Self::Resource,
            (Self::ResourceMetrics, 2) => Self::ScopeMetrics,
            (Self::Resource, 1) | (Self::Scope, 3) | (Self::Metric, 12) => Self::KeyValue,
            (Self::Resource, 3) => Self::EntityRef,
            (Self::ScopeMetrics, 1) => Self::Scope,
            (Self::ScopeMetrics, 2) => Self::Metric,
            (Self::Metric, 5 | 7) => Self::Points(Point::Number),
            (Self::Metric, 9) => Self::Points(Point::Histogram),
            (Self::Metric, 10) => Self::Points(Point::Exponential),
            (Self::Metric, 11) => Self::Points(Point::Summary),
            (Self::Points(point), 1) => Self::Point(point),
            (Self::Point(Point::Number | Point::Summary), 7)
            | (Self::Point(Point::Histogram), 9)
            | (Self::Point(Point::Exponential), 1)
            | (Self::Exemplar, 7)
            | (Self::Pairs, 1) => Self::KeyValue,
            (Self::Point(Point::Number), 5)
            | (Self::Point(Point::Histogram), 8)
            | (Self::Point(Point::Exponential), 11) => Self::Exemplar,
            (Self::Point(Point::Exponential), 8 | 9) => Self::Buckets,
            (Self::Point(Point::Summary), 6) => Self::Quantile,
            (Self::KeyValue, 2) | (Self::Values, 1) => Self::AnyValue,
            (Self::AnyValue, 5) => Self::Values,
            (Self::AnyValue, 6) => Self::Pairs,
            _ => return None,
        })
    }

    /// Returns true if field number `field` is a string.
    pub fn is_string(self, field: u32) -> bool {
        matches!(
            (self, field),
            (Self::ResourceMetrics | Self::ScopeMetrics, 3)
                | (Self::EntityRef, 1..=4)
                | (Self::Scope, 1 | 2)
                | (Self::Metric, 1..=3)
                | (Self::KeyValue | Self::AnyValue, 1)
        )
    }
}
