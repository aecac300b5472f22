//! Writes protobuf fields and computes their lengths.

/// Wire type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FieldType {
    /// An integer of 1 to 10 bytes.
    Varint = 0,
    /// Eight bytes, little-endian.
    Fixed64 = 1,
    /// A length followed by that many bytes.
    Delimited = 2,
}

/// Length in bytes of a `fixed64` or `double` field, if the field number is below 16.
pub const FIXED64_LEN: usize = 9;

/// Returns the number of bytes that [`put_varint`] appends for `value`.
pub fn varint_len(value: u64) -> usize {
    // One byte per seven bits, and one byte for zero.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Returns the length of a delimited field with `len` bytes of content, including its key
/// and its length prefix.
pub fn bytes_len(number: u32, len: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(len as u64) + len
}

/// Appends a varint.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Encodes a `sint32` with zigzag encoding, for [`put_varint`].
pub fn zigzag(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31) as u32)
}

/// Appends the key of a field. The caller appends the value.
pub fn put_key(number: u32, field_type: FieldType, out: &mut Vec<u8>) {
    put_varint(u64::from(number << 3 | field_type as u32), out);
}

/// Appends the key and the length prefix of a message, string or packed field. The caller
/// appends the content.
pub fn put_header(number: u32, len: usize, out: &mut Vec<u8>) {
    put_key(number, FieldType::Delimited, out);
    put_varint(len as u64, out);
}

/// Appends a message, string or packed field.
pub fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_header(number, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends a `fixed64` field.
pub fn put_fixed64(number: u32, value: u64, out: &mut Vec<u8>) {
    put_key(number, FieldType::Fixed64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a `double` field.
pub fn put_double(number: u32, value: f64, out: &mut Vec<u8>) {
    put_fixed64(number, value.to_bits(), out);
}

/// Appends a `double` field with implicit presence: omitted if the value is positive zero.
pub fn put_implicit_double(number: u32, value: f64, out: &mut Vec<u8>) {
    // Compared by bits: a negative zero is not the default value.
    if value.to_bits() != 0 {
        put_double(number, value, out);
    }
}

/// Appends an `int64` field with implicit presence: omitted if the value is zero.
pub fn put_implicit_int64(number: u32, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        put_key(number, FieldType::Varint, out);
        put_varint(value as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use proto::v1;

    use super::*;

    proptest! {
        #[test]
        fn computes_the_written_length(value: u64, number in 1_u32..3000, len in 0_usize..500) {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(prost::encoding::decode_varint(&mut &out[..]), Ok(value));
            out.clear();
            put_bytes(number, &vec![1; len], &mut out);
            prop_assert_eq!(out.len(), bytes_len(number, len));
        }

        #[test]
        fn writes_fields_that_prost_decodes(value: f64, timestamp: i64, text in ".*", offset: i32) {
            let mut sample = Vec::new();
            put_implicit_double(1, value, &mut sample);
            put_implicit_int64(2, timestamp, &mut sample);
            let mut series = Vec::new();
            put_bytes(2, &sample, &mut series);
            let read = v1::TimeSeries::decode(series.as_slice()).unwrap();
            prop_assert_eq!(read.samples[0].value.to_bits(), value.to_bits());
            prop_assert_eq!(read.samples[0].timestamp, timestamp);
            let mut label = Vec::new();
            put_bytes(2, text.as_bytes(), &mut label);
            prop_assert_eq!(v1::Label::decode(label.as_slice()).unwrap().value, text);
            let mut span = Vec::new();
            put_key(1, FieldType::Varint, &mut span);
            put_varint(zigzag(offset), &mut span);
            prop_assert_eq!(v1::BucketSpan::decode(span.as_slice()).unwrap().offset, offset);
        }
    }

    #[test]
    fn omits_only_a_positive_zero() {
        let mut out = Vec::new();
        put_implicit_double(1, -0.0, &mut out);
        assert_eq!(out.len(), FIXED64_LEN);
        put_implicit_double(1, 0.0, &mut out);
        put_implicit_int64(1, 0, &mut out);
        assert_eq!(out.len(), FIXED64_LEN);
    }
}
