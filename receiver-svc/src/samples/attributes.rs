//! Encodes labels as OTLP attributes.
//!
//! Each label is encoded once, as one of the attributes of a `NumberDataPoint`, and copied
//! into each data point. Other kinds of data points use other field numbers, so
//! [`Attributes::put_as`] rewrites the keys.

use mesh_wire::protobuf::{self, Fields};

use super::interner::Interner;

/// Labels of a series without the name, as attributes of a `NumberDataPoint`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    /// All encoded labels of the target.
    pairs: &'a Interner,
    /// IDs of the labels of the series, sorted by label name.
    ids: &'a [u32],
    /// Total length in bytes.
    len: usize,
}

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

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// Returns the labels with the given IDs. `len` is their length in bytes.
    pub(super) fn new(pairs: &'a Interner, ids: &'a [u32], len: usize) -> Self {
        Self { pairs, ids, len }
    }

    /// Returns the number of bytes that [`Attributes::put`] appends.
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// Appends the attributes.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        for encoded in self.runs() {
            out.extend_from_slice(encoded);
        }
    }

    /// Appends the attributes as fields with another number.
    pub(crate) fn put_as(self, field: u32, out: &mut Vec<u8>) {
        for pair in self.runs().flat_map(fields_of) {
            protobuf::put_bytes(field, pair, out);
        }
    }

    /// Decodes the names and values.
    pub(super) fn decode(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.runs().flat_map(fields_of).map(|pair| {
            let mut fields = fields_of(pair);
            let name = fields.next().unwrap_or_default();
            let any = fields.next().unwrap_or_default();
            let text = fields_of(any).next().unwrap_or_default();
            let text_of = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            (text_of(name), text_of(text))
        })
    }

    /// Returns the encoded labels. Those that follow each other in memory come in one piece.
    fn runs(self) -> impl Iterator<Item = &'a [u8]> {
        let runs = self.ids.chunk_by(|one, next| *next == one + 1);
        runs.map(move |run| self.pairs.joined(run[0], run[run.len() - 1]))
    }
}

/// Encodes one label as an attribute of a `NumberDataPoint`. Replaces the content of `out`.
pub(super) fn encode(name: &str, value: &str, out: &mut Vec<u8>) {
    out.clear();
    put(NUMBER_ATTRIBUTES, name, value, out);
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

/// Returns the length-delimited fields of a message; [`put`] writes no other type.
fn fields_of(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields::new(encoded).filter_map(|field| field.ok()?.bytes().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_labels_that_are_stored_apart() {
        let long = "v".repeat(300);
        let (mut pairs, mut pair) = (Interner::default(), Vec::new());
        let labels = [("c", "3"), ("a", "1"), ("b", long.as_str())];
        let mut expected_len = 0;
        for (name, value) in labels {
            encode(name, value, &mut pair);
            pairs.intern(&pair);
            expected_len += put_len(NUMBER_ATTRIBUTES, name, value);
        }
        let attributes = Attributes::new(&pairs, &[1, 2, 0], expected_len);
        let decoded: Vec<_> = attributes.decode().collect();
        assert_eq!(decoded, [("a", "1"), ("b", long.as_str()), ("c", "3")]);
        let (mut encoded, mut moved) = (Vec::new(), Vec::new());
        attributes.put(&mut encoded);
        attributes.put_as(HISTOGRAM_ATTRIBUTES, &mut moved);
        assert_eq!((encoded.len(), moved.len()), (expected_len, expected_len));
        assert_eq!(
            fields_of(&encoded).collect::<Vec<_>>(),
            fields_of(&moved).collect::<Vec<_>>()
        );
    }
}
