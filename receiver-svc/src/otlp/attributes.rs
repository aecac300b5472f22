//! Labels as encoded OTLP attributes.
//!
//! They are encoded once for each series and copied from then on, so all encoded
//! attributes are those of a `NumberDataPoint`; other kinds of points have them
//! in fields of other numbers.

use mesh::labels::{Labels, METRIC_NAME};
use mesh::wire::{self, Fields};

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

/// Adds all labels but the name.
pub(crate) fn encode(labels: &Labels, out: &mut Vec<u8>) {
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        put(NUMBER_ATTRIBUTES, name, value, out);
    }
}

/// Adds one `KeyValue` with a text as field `field`.
pub(crate) fn put(field: u32, name: &str, value: &str, out: &mut Vec<u8>) {
    let any = wire::bytes_len(STRING, value.len());
    let pair = wire::bytes_len(KEY, name.len()) + wire::bytes_len(VALUE, any);
    wire::put_header(field, pair, out);
    wire::put_bytes(KEY, name.as_bytes(), out);
    wire::put_header(VALUE, any, out);
    wire::put_bytes(STRING, value.as_bytes(), out);
}

/// How many bytes [`put`] adds.
pub(crate) fn put_len(field: u32, name: &str, value: &str) -> usize {
    let any = wire::bytes_len(STRING, value.len());
    let pair = wire::bytes_len(KEY, name.len()) + wire::bytes_len(VALUE, any);
    wire::bytes_len(field, pair)
}

/// Copies encoded attributes, as fields of another number.
pub(crate) fn put_as(field: u32, attributes: &[u8], out: &mut Vec<u8>) {
    for pair in pairs(attributes) {
        wire::put_bytes(field, pair, out);
    }
}

/// Names and values of encoded attributes.
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

/// The fields of bytes in what [`put`] wrote, which has no others.
fn pairs(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields::new(encoded).filter_map(|field| field.ok()?.bytes().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_all_labels_but_the_name() {
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
