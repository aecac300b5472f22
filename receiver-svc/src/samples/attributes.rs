//! Encodes labels as OTLP attributes.
//!
//! The labels of a series are encoded once, as the attributes of a `NumberDataPoint`, and
//! copied into each data point. Other kinds of data points use other field numbers, so
//! [`put_as`] rewrites the keys.

use mesh_model::labels::{Labels, METRIC_NAME};
use mesh_wire::protobuf::{self, Fields};

/// `NumberDataPoint.attributes` and `SummaryDataPoint.attributes`.
pub(crate) const NUMBER_ATTRIBUTES: u32 = 7;
/// `HistogramDataPoint.attributes`.
pub(crate) const HISTOGRAM_ATTRIBUTES: u32 = 9;
/// `ExponentialHistogramDataPoint.attributes`.
pub(crate) const EXPONENTIAL_ATTRIBUTES: u32 = 1;

/// `KeyValue.key` and `KeyValue.value`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// `AnyValue.string_value`.
const STRING: u32 = 1;

/// Appends all labels except the name.
pub(crate) fn encode(labels: &Labels, out: &mut Vec<u8>) {
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        put(NUMBER_ATTRIBUTES, name, value, out);
    }
}

/// Appends one `KeyValue` with a string value as field `field`.
pub(crate) fn put(field: u32, name: &str, value: &str, out: &mut Vec<u8>) {
    let any = protobuf::bytes_len(STRING, value.len());
    let pair = protobuf::bytes_len(KEY, name.len()) + protobuf::bytes_len(VALUE, any);
    protobuf::put_header(field, pair, out);
    protobuf::put_bytes(KEY, name.as_bytes(), out);
    protobuf::put_header(VALUE, any, out);
    protobuf::put_bytes(STRING, value.as_bytes(), out);
}

/// Returns the number of bytes that [`put`] appends.
pub(crate) fn put_len(field: u32, name: &str, value: &str) -> usize {
    let any = protobuf::bytes_len(STRING, value.len());
    let pair = protobuf::bytes_len(KEY, name.len()) + protobuf::bytes_len(VALUE, any);
    protobuf::bytes_len(field, pair)
}

/// Copies encoded attributes to fields with another number.
pub(crate) fn put_as(field: u32, attributes: &[u8], out: &mut Vec<u8>) {
    for pair in pairs(attributes) {
        protobuf::put_bytes(field, pair, out);
    }
}

/// Decodes the names and values of attributes.
pub(crate) fn decode(attributes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    pairs(attributes).map(|pair| {
        let mut fields = pairs(pair);
        let name = fields.next().unwrap_or_default();
        let any = fields.next().unwrap_or_default();
        let text = pairs(any).next().unwrap_or_default();
        let text_of = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        (text_of(name), text_of(text))
    })
}

/// Returns the length-delimited fields of a message; [`put`] writes no other type.
fn pairs(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields::new(encoded).filter_map(|field| field.ok()?.bytes().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_all_labels_except_the_name() {
        let long = "v".repeat(300);
        let labels: Labels = [(METRIC_NAME, "up"), ("a", "1"), ("b", &long)]
            .into_iter()
            .collect();
        let mut encoded = Vec::new();
        encode(&labels, &mut encoded);
        let decoded: Vec<_> = decode(&encoded).collect();
        assert_eq!(decoded, [("a", "1"), ("b", long.as_str())]);
        let mut moved = Vec::new();
        put_as(HISTOGRAM_ATTRIBUTES, &encoded, &mut moved);
        assert_eq!(moved.len(), encoded.len());
        assert_eq!(decode(&moved).count(), 2);
        let len = put_len(7, "a", "1") + put_len(7, "b", &long);
        assert_eq!(encoded.len(), len);
    }
}
