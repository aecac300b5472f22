//! Estimates the memory of a decoded request before it is decoded.
//!
//! An empty data point is two bytes on the wire and more than a hundred in memory. A limit
//! on the bytes alone would admit fifty times as much memory. The estimate counts the
//! messages, which takes one pass over their headers.

use std::mem::size_of;

use mesh_wire::{
    otlp::schema::{Kind, Point},
    protobuf::{Fields, Value},
};
use opentelemetry_proto::tonic::{
    common::v1 as common,
    metrics::v1::{self as metrics, exponential_histogram_data_point::Buckets, summary_data_point},
    resource::v1::Resource,
};

/// Bytes per JSON object: the largest frequent message, plus its copy during conversion.
const JSON_MESSAGE: usize = 400;
/// Bytes per element of a JSON list.
const JSON_ELEMENT: usize = 32;

/// Estimates the memory of a protobuf request in bytes: its decoded form plus its re-encoded
/// form. Ignores malformed fields, which the decoder rejects later.
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
                    cost += size(child);
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

/// Bytes of the decoded message, without its heap allocations.
fn size(kind: Kind) -> usize {
    match kind {
        Kind::Request => 0,
        Kind::ResourceMetrics => size_of::<metrics::ResourceMetrics>(),
        Kind::Resource => size_of::<Resource>(),
        Kind::ScopeMetrics => size_of::<metrics::ScopeMetrics>(),
        Kind::Scope => size_of::<common::InstrumentationScope>(),
        Kind::Metric => size_of::<metrics::Metric>(),
        // Included in the size of the metric.
        Kind::Points(_) => 0,
        Kind::Point(Point::Number) => size_of::<metrics::NumberDataPoint>(),
        Kind::Point(Point::Histogram) => size_of::<metrics::HistogramDataPoint>(),
        Kind::Point(Point::Exponential) => size_of::<metrics::ExponentialHistogramDataPoint>(),
        Kind::Point(Point::Summary) => size_of::<metrics::SummaryDataPoint>(),
        Kind::Buckets => size_of::<Buckets>(),
        Kind::Quantile => size_of::<summary_data_point::ValueAtQuantile>(),
        Kind::Exemplar => size_of::<metrics::Exemplar>(),
        Kind::KeyValue => size_of::<common::KeyValue>(),
        Kind::AnyValue => size_of::<common::AnyValue>(),
        Kind::Values => size_of::<common::ArrayValue>(),
        Kind::Pairs => size_of::<common::KeyValueList>(),
        Kind::EntityRef => size_of::<common::EntityRef>(),
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
