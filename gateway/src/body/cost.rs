//! Estimates the memory of a decoded request before it is decoded.
//!
//! An empty data point is two bytes on the wire and more than a hundred in memory. A limit
//! on the bytes alone would admit fifty times as much memory. The estimate counts the
//! messages, which takes one pass over their headers.

use std::mem::size_of;

use mesh_wire::protobuf::{Fields, Value};
use opentelemetry_proto::tonic::{
    common::v1 as common,
    metrics::v1::{self as metrics, exponential_histogram_data_point::Buckets, summary_data_point},
    resource::v1::Resource,
};

/// Message types of a metrics request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    ResourceMetrics,
    Resource,
    ScopeMetrics,
    Scope,
    Metric,
    /// Gauge, Sum, Histogram, ExponentialHistogram or Summary: a list of points.
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

/// Bytes per JSON object: the largest frequent message, plus its copy during conversion.
const JSON_MESSAGE: usize = 400;
/// Bytes per element of a JSON list.
const JSON_ELEMENT: usize = 32;

/// Estimates the bytes of a protobuf request, once decoded and once re-encoded. Ignores
/// malformed fields, which the decoder rejects later.
pub(super) fn estimate_protobuf(bytes: &[u8]) -> usize {
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
                // Packed counts take at least one byte each on the wire and eight in memory.
                None if kind == Kind::Buckets => cost += 8 * bytes.len(),
                None => {}
            }
        }
    }
    cost
}

/// Estimates the maximum bytes of a JSON request.
pub(super) fn estimate_json(bytes: &[u8]) -> usize {
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
    /// Type of the message in field number `field`; `None` for other fields.
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

    /// Bytes of the decoded message, without what it has on the heap.
    fn size(self) -> usize {
        match self {
            Self::Request => 0,
            Self::ResourceMetrics => size_of::<metrics::ResourceMetrics>(),
            Self::Resource => size_of::<Resource>(),
            Self::ScopeMetrics => size_of::<metrics::ScopeMetrics>(),
            Self::Scope => size_of::<common::InstrumentationScope>(),
            Self::Metric => size_of::<metrics::Metric>(),
            // Included in the size of the metric.
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
    fn estimates_the_memory_of_empty_points() {
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
        let cost = estimate_protobuf(&request);
        assert!(cost > tree && cost < tree * 11 / 10 + 5000, "{cost}");
        assert!(tree > 20 * request.len());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(estimate_protobuf(&bytes) >= bytes.len());
            prop_assert!(estimate_json(&bytes) >= bytes.len());
        }
    }
}
