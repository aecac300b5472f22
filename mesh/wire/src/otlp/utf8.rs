//! Repairs strings of an OTLP metrics request that are not UTF-8.
//!
//! A protobuf decoder refuses a whole request for one invalid byte in one string. OTLP
//! clients in languages with byte strings send such requests, for example with the text of
//! another encoding in an attribute. So a request that cannot be decoded is repaired:
//!
//! - Invalid bytes become U+FFFD, in all strings but the names of metrics.
//! - A metric with an invalid name is removed. Two names could become one otherwise.

use super::schema::Kind;
use crate::protobuf::{Fields, Value, put_bytes};

/// A message with repaired strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The encoded message.
    pub message: Vec<u8>,
    /// Metrics that were removed because their names are not UTF-8.
    pub removed: Vec<RemovedMetric>,
}

/// A metric that was removed from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedMetric {
    /// Name of the metric, with U+FFFD for invalid bytes.
    pub name: String,
    /// Number of its data points.
    pub points: u64,
}

/// Maximum depth of nested messages, which is prost's limit. Deeper ones stay as they are;
/// the decoder refuses them.
const MAX_DEPTH: usize = 100;

/// Maximum size of a repaired message as a multiple of the original: an invalid byte becomes
/// three.
pub const MAX_GROWTH: usize = 3;

/// Text of the problem with a [`RemovedMetric`], for errors.
pub const INVALID_NAME: &str = "the name is not valid UTF-8; send names as UTF-8";

/// Returns true if a string of an encoded message of type `kind` is not UTF-8.
pub fn needs_repair(kind: Kind, message: &[u8]) -> bool {
    let mut rest = vec![(kind, message)];
    while let Some((kind, message)) = rest.pop() {
        for field in Fields::new(message).map_while(Result::ok) {
            let Value::Bytes(content) = field.value else {
                continue;
            };
            match kind.child(field.number) {
                Some(child) => rest.push((child, content)),
                None if kind.is_string(field.number) && std::str::from_utf8(content).is_err() => {
                    return true;
                }
                None => {}
            }
        }
    }
    false
}

/// Repairs the strings of an encoded message of type `kind`. Returns `None` if no string
/// needs it.
pub fn repair(kind: Kind, message: &[u8]) -> Option<Repaired> {
    let mut removed = Vec::new();
    let message = repair_message(kind, message, 0, &mut removed)?;
    Some(Repaired { message, removed })
}

/// Converts bytes to text. Invalid bytes become U+FFFD; so does an encoded lone surrogate,
/// which is three bytes.
pub fn lossy(mut bytes: Vec<u8>) -> String {
    for i in 0..bytes.len().saturating_sub(2) {
        if matches!(bytes[i..i + 3], [0xed, 0xa0..=0xbf, 0x80..=0xbf]) {
            bytes[i..i + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Repairs one message. Returns `None` if it stays as it is.
fn repair_message(
    kind: Kind,
    message: &[u8],
    depth: usize,
    removed: &mut Vec<RemovedMetric>,
) -> Option<Vec<u8>> {
    let mut repaired: Option<Vec<u8>> = None;
    // Number of bytes that `repaired` already covers, and number of bytes that were read.
    let (mut copied, mut read) = (0, 0);
    for field in Fields::new(message).map_while(Result::ok) {
        let start = read;
        read += field.raw.len();
        let Value::Bytes(content) = field.value else {
            continue;
        };
        let child = kind.child(field.number);
        let name = match child {
            Some(Kind::Metric) => invalid_name(content),
            _ => None,
        };
        let replacement = match child {
            _ if name.is_some() => None,
            Some(child) if depth < MAX_DEPTH => repair_message(child, content, depth + 1, removed),
            None if kind.is_string(field.number) => repair_string(content),
            _ => None,
        };
        if name.is_none() && replacement.is_none() {
            continue;
        }
        removed.extend(name.map(|name| RemovedMetric {
            name,
            points: points(content),
        }));
        let repaired = repaired.get_or_insert_with(|| Vec::with_capacity(message.len()));
        repaired.extend_from_slice(&message[copied..start]);
        if let Some(replacement) = replacement {
            put_bytes(field.number, &replacement, repaired);
        }
        copied = read;
    }
    let mut repaired = repaired?;
    repaired.extend_from_slice(&message[copied..]);
    Some(repaired)
}

/// Repairs one string. Returns `None` if it is valid.
fn repair_string(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_valid = std::str::from_utf8(bytes).is_ok();
    (!is_valid).then(|| lossy(bytes.to_vec()).into_bytes())
}

/// Returns the name of a metric if it is not UTF-8.
fn invalid_name(metric: &[u8]) -> Option<String> {
    Fields::new(metric)
        .map_while(Result::ok)
        .filter(|field| field.number == 1)
        .filter_map(|field| field.bytes().ok())
        .find(|name| std::str::from_utf8(name).is_err())
        .map(|name| lossy(name.to_vec()))
}

/// Counts the data points of a metric.
fn points(metric: &[u8]) -> u64 {
    let lists = Fields::new(metric).map_while(Result::ok).filter(|field| {
        let child = Kind::Metric.child(field.number);
        matches!(child, Some(Kind::Points(_)))
    });
    let points = lists.filter_map(|list| list.bytes().ok()).map(|list| {
        let points = Fields::new(list).map_while(Result::ok);
        points.filter(|point| point.number == 1).count() as u64
    });
    points.sum()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        common::v1::{
            AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
            any_value::Value as Any,
        },
        metrics::v1::{
            Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
            HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
            Summary, SummaryDataPoint, metric::Data,
        },
        resource::v1::Resource,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// Text that the tests replace by invalid bytes of the same length.
    const MARK: &str = "@@";

    fn pair(key: &str, value: Any) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..Default::default()
        }
    }

    /// Attributes with text in each place: key, value, array and map.
    fn attributes(text: &str) -> Vec<KeyValue> {
        let value = AnyValue {
            value: Some(Any::StringValue(text.to_owned())),
        };
        let inner = pair(text, Any::StringValue(text.to_owned()));
        vec![
            pair(text, Any::StringValue(text.to_owned())),
            pair("b", Any::BytesValue(text.as_bytes().to_vec())),
            pair(
                "array",
                Any::ArrayValue(ArrayValue {
                    values: vec![value],
                }),
            ),
            pair(
                "map",
                Any::KvlistValue(KeyValueList {
                    values: vec![inner],
                }),
            ),
        ]
    }

    fn exemplars(text: &str) -> Vec<Exemplar> {
        vec![Exemplar {
            filtered_attributes: attributes(text),
            ..Default::default()
        }]
    }

    fn metric(name: &str, text: &str, data: Data) -> Metric {
        Metric {
            name: name.to_owned(),
            description: text.to_owned(),
            unit: text.to_owned(),
            metadata: attributes(text),
            data: Some(data),
        }
    }

    /// A request with `text` in every string but the names of metrics.
    fn request(text: &str) -> ExportMetricsServiceRequest {
        let number = NumberDataPoint {
            attributes: attributes(text),
            exemplars: exemplars(text),
            ..Default::default()
        };
        let histogram = HistogramDataPoint {
            attributes: attributes(text),
            exemplars: exemplars(text),
            ..Default::default()
        };
        let exponential = ExponentialHistogramDataPoint {
            attributes: attributes(text),
            exemplars: exemplars(text),
            ..Default::default()
        };
        let summary = SummaryDataPoint {
            attributes: attributes(text),
            ..Default::default()
        };
        let all = [
            Data::Gauge(Gauge {
                data_points: vec![number.clone()],
            }),
            Data::Sum(Sum {
                data_points: vec![number],
                ..Default::default()
            }),
            Data::Histogram(Histogram {
                data_points: vec![histogram],
                ..Default::default()
            }),
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                ..Default::default()
            }),
            Data::Summary(Summary {
                data_points: vec![summary],
            }),
        ];
        let scope = InstrumentationScope {
            name: text.to_owned(),
            version: text.to_owned(),
            attributes: attributes(text),
            ..Default::default()
        };
        let metrics = all.map(|data| metric("m", text, data)).into();
        let entity = EntityRef {
            schema_url: text.to_owned(),
            r#type: text.to_owned(),
            id_keys: vec![text.to_owned()],
            description_keys: vec![text.to_owned()],
        };
        let resource = ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes(text),
                entity_refs: vec![entity],
                ..Default::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope),
                metrics,
                schema_url: text.to_owned(),
            }],
            schema_url: text.to_owned(),
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![resource],
        }
    }

    /// Replaces the marks in an encoded message by bytes that are not UTF-8.
    fn spoil(mut message: Vec<u8>) -> Vec<u8> {
        for i in 0..message.len() - 1 {
            if message[i..].starts_with(MARK.as_bytes()) {
                message[i..i + 2].copy_from_slice(b"\xe9\xff");
            }
        }
        message
    }

    #[test]
    fn repairs_every_string_of_a_request() {
        let spoilt = spoil(request(&format!("caf{MARK}")).encode_to_vec());
        assert!(ExportMetricsServiceRequest::decode(&*spoilt).is_err());
        assert!(needs_repair(Kind::Request, &spoilt));
        let repaired = repair(Kind::Request, &spoilt).unwrap();
        assert_eq!(repaired.removed, []);
        assert!(repaired.message.len() <= spoilt.len() * MAX_GROWTH);
        let repaired = ExportMetricsServiceRequest::decode(&*repaired.message).unwrap();
        // Bytes are not text: they stay as they are.
        let expected = format!("{:?}", request("caf\u{fffd}\u{fffd}"));
        let as_bytes = format!("{:?}", "caf\u{fffd}\u{fffd}".as_bytes());
        let kept = format!("{:?}", b"caf\xe9\xff");
        let expected = expected.replace(&as_bytes, &kept);
        assert_eq!(format!("{repaired:?}"), expected);
    }

    #[test]
    fn removes_metrics_with_invalid_names_only() {
        let points = |n| {
            Data::Gauge(Gauge {
                data_points: vec![NumberDataPoint::default(); n],
            })
        };
        let scope = ScopeMetrics {
            metrics: vec![
                metric(&format!("g{MARK}"), "", points(3)),
                metric("ok", "", points(1)),
            ],
            ..Default::default()
        };
        let spoilt = spoil(scope.encode_to_vec());
        let repaired = repair(Kind::ScopeMetrics, &spoilt).unwrap();
        let removed = RemovedMetric {
            name: "g\u{fffd}\u{fffd}".to_owned(),
            points: 3,
        };
        assert_eq!(repaired.removed, [removed]);
        let repaired = ScopeMetrics::decode(&*repaired.message).unwrap();
        assert_eq!(repaired.metrics, [metric("ok", "", points(1))]);
    }

    #[test]
    fn a_lone_surrogate_becomes_one_character() {
        assert_eq!(lossy(b"cut \xed\xa0\xbd".to_vec()), "cut \u{fffd}");
        assert_eq!(lossy(b"\xed\xa0".to_vec()), "\u{fffd}\u{fffd}");
        assert_eq!(lossy("한".as_bytes().to_vec()), "한");
    }

    proptest! {
        #[test]
        fn leaves_valid_requests_alone(text in ".{0,8}") {
            let message = request(&text).encode_to_vec();
            prop_assert!(!needs_repair(Kind::Request, &message));
            prop_assert_eq!(repair(Kind::Request, &message), None);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(repaired) = repair(Kind::Request, &bytes) {
                prop_assert!(needs_repair(Kind::Request, &bytes));
                prop_assert!(repaired.message.len() <= bytes.len() * MAX_GROWTH + 200);
            }
        }
    }
}
