//! Encodes exemplars.

use mesh_wire::protobuf;

use super::time;
use crate::{exposition, samples::attributes};

/// `Exemplar.filtered_attributes`.
const FILTERED_ATTRIBUTES: u32 = 7;
const TIME: u32 = 2;
const AS_DOUBLE: u32 = 3;
const SPAN_ID: u32 = 4;
const TRACE_ID: u32 = 5;

/// Lengths of a trace ID and a span ID in bytes.
const TRACE_ID_LEN: usize = 16;
const SPAN_ID_LEN: usize = 8;

/// Writes exemplars as fields `field`. Skips an exemplar without a timestamp or with
/// one that OTLP cannot express.
pub(super) fn put(field: u32, exemplars: &[exposition::Exemplar], out: &mut Vec<u8>) {
    let mut encoded = Vec::new();
    for exemplar in exemplars {
        let Some(nanos) = exemplar.timestamp.and_then(time::nanos) else {
            continue;
        };
        encoded.clear();
        protobuf::put_fixed64(TIME, nanos, &mut encoded);
        protobuf::put_double(AS_DOUBLE, exemplar.value, &mut encoded);
        for (name, value) in &exemplar.labels {
            put_label(name, value, &mut encoded);
        }
        protobuf::put_bytes(field, &encoded, out);
    }
}

/// Writes a label as a filtered attribute, or a trace or span ID as its own field.
///
/// An ID uses its own field only if decoding restores the same text.
fn put_label(name: &str, value: &str, out: &mut Vec<u8>) {
    let id = match name {
        "trace_id" => identifier(value, TRACE_ID_LEN).map(|id| (TRACE_ID, id)),
        "span_id" => identifier(value, SPAN_ID_LEN).map(|id| (SPAN_ID, id)),
        _ => None,
    };
    match id {
        Some((field, id)) => protobuf::put_bytes(field, &id, out),
        None => attributes::put(FILTERED_ATTRIBUTES, name, value, out),
    }
}

/// Decodes an ID of `len` bytes from lower-case hexadecimal text.
///
/// Returns `None` for any other text and for an ID of zeros, which OTLP forbids.
fn identifier(text: &str, len: usize) -> Option<Vec<u8>> {
    if text.len() != 2 * len {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks_exact(2);
    let id: Vec<_> = pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect::<Option<_>>()?;
    id.iter().any(|byte| *byte != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_id_that_does_not_round_trip() {
        assert_eq!(identifier("00ff", 2), Some(vec![0, 255]));
        for text in ["00FF", "0000", "0ff", "00fg", "000ff"] {
            assert_eq!(identifier(text, 2), None, "{text}");
        }
    }
}
