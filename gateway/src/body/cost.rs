//! What a body will take once it is decoded, before it is.
//!
//! An empty data point is two bytes on the wire and more than a hundred in memory,
//! so that a limit on bytes alone lets fifty times as much in. Counting the
//! messages costs a walk over their headers.

use std::mem::size_of;

use mesh::wire::{Fields, Value};
use opentelemetry_proto::tonic::{
    common::v1 as common,
    metrics::v1::{self as metrics, exponential_histogram_data_point::Buckets, summary_data_point},
    resource::v1::Resource,
};

/// The messages of a metrics request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    ResourceMetrics,
    Resource,
    ScopeMetrics,
    Scope,
    Metric,
    /// Gauge, Sum, Histogram, ExponentialHistogram, Summary: a list of points.
    Points(Point),
    Point(Point),
    Buckets,
    Quantile,
    Exemplar,
    KeyValue,
    AnyValue,
    /// ArrayValue.
    Values,
    /// KeyValueList.
    Pairs,
    EntityRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Number,
    Histogram,
    Exponential,
    Summary,
}

/// What one message, or one number of a list, takes as JSON spells it: the
/// largest of those that come in numbers, and once more for its conversion.
const JSON_MESSAGE: usize = 400;
const JSON_ELEMENT: usize = 32;

/// Bytes that a protobuf request takes, decoded and encoded again. What is
/// malformed is for the decoder to find.
pub(super) fn of_protobuf(bytes: &[u8]) -> usize {
    let mut cost = 2 * bytes.len();
    let mut rest = vec![(Kind::Request, bytes)];
    while let Some((kind, message)) = rest.pop() {
        for field in Fields::new(message).map_while(Result::ok) {
            let Value::Bytes(bytes) = field.value else {
                continue;
            };
            match kind.child(field.number) {
                Some(child) => {
                    cost += child.size();
                    rest.push((child, bytes));
                }
                // Packed counts: a byte each on the wire, eight in memory.
                None if kind == Kind::Buckets => cost += 8 * bytes.len(),
                None => {}
            }
        }
    }
    cost
}

/// Bytes that a JSON request takes at most.
pub(super) fn of_json(bytes: &[u8]) -> usize {
    let (mut messages, mut elements) = (0, 0);
    for byte in bytes {
        match byte {
            b'{' => messages += 1,
            b',' => elements += 1,
            _ => {}
        }
    }
    2 * bytes.len() + messages * JSON_MESSAGE + elements * JSON_ELEMENT
}

// === impl Kind ===

impl Kind {
    /// The message in a field of this one.
    fn child(self, field: u32) -> Option<Self> {
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

    fn size(self) -> usize {
        match self {
            Self::Request => 0,
            Self::ResourceMetrics => size_of::<metrics::ResourceMetrics>(),
            Self::Resource => size_of::<Resource>(),
            Self::ScopeMetrics => size_of::<metrics::ScopeMetrics>(),
            Self::Scope => size_of::<common::InstrumentationScope>(),
            Self::Metric => size_of::<metrics::Metric>(),
            // Part of the metric.
            Self::Points(_) => 0,
            Self::Point(Point::Number) => size_of::<metrics::NumberDataPoint>(),
            Self::Point(Point::Histogram) => size_of::<metrics::HistogramDataPoint>(),
            Self::Point(Point::Exponential) => size_of::<metrics::ExponentialHistogramDataPoint>(),
            Self::Point(Point::Summary) => size_of::<metrics::SummaryDataPoint>(),
            Self::Buckets => size_of::<Buckets>(),
            Self::Quantile => size_of::<summary_data_point::ValueAtQuantile>(),
            Self::Exemplar => size_of::<metrics::Exemplar>(),
            Self::KeyValue => size_of::<common::KeyValue>(),
            Self::AnyValue => size_of::<common::AnyValue>(),
            Self::Values => size_of::<common::ArrayValue>(),
            Self::Pairs => size_of::<common::KeyValueList>(),
            Self::EntityRef => size_of::<common::EntityRef>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[test]
    fn empty_points_cost_what_they_take() {
        let point = metrics::NumberDataPoint::default();
        let gauge = metrics::Gauge {
            data_points: vec![point; 1000],
        };
        let metric = metrics::Metric {
            data: Some(metrics::metric::Data::Gauge(gauge)),
            ..Default::default()
        };
        let scope = metrics::ScopeMetrics {
            metrics: vec![metric],
            ..Default::default()
        };
        let resource = metrics::ResourceMetrics {
            scope_metrics: vec![scope],
            ..Default::default()
        };
        let mut request = vec![0x0a];
        prost::encoding::encode_varint(resource.encoded_len() as u64, &mut request);
        request.extend(resource.encode_to_vec());
        let tree = 1000 * size_of::<metrics::NumberDataPoint>();
        let cost = of_protobuf(&request);
        assert!(cost > tree && cost < tree * 11 / 10 + 5000, "{cost}");
        assert!(tree > 20 * request.len());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(of_protobuf(&bytes) >= bytes.len());
            prop_assert!(of_json(&bytes) >= bytes.len());
        }
    }
}
