//! Writing protobuf by hand.
//!
//! Messages within messages are preceded by their length, so everything here
//! comes in pairs: how long it will be, and writing it.

/// Wire type of eight bytes.
pub(crate) const FIXED64: u32 = 1;
/// Wire type of a length and that many bytes.
pub(crate) const LEN: u32 = 2;
/// Wire type of a number of variable length.
pub(crate) const VARINT: u32 = 0;

/// How many bytes a fixed64 or double field of a number below 16 has.
pub(crate) const FIXED64_LEN: usize = 9;

pub(crate) fn varint_len(value: u64) -> usize {
    // One byte for every seven bits, and one for zero.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

pub(crate) fn key_len(field: u32) -> usize {
    varint_len(u64::from(field) << 3)
}

/// How long a field of `len` bytes is, with its key and its length.
pub(crate) fn bytes_len(field: u32, len: usize) -> usize {
    key_len(field) + varint_len(len as u64) + len
}

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_key(field: u32, wire_type: u32, out: &mut Vec<u8>) {
    put_varint(u64::from(field << 3 | wire_type), out);
}

/// The key and the length of a message that follows.
pub(crate) fn put_header(field: u32, len: usize, out: &mut Vec<u8>) {
    put_key(field, LEN, out);
    put_varint(len as u64, out);
}

pub(crate) fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_header(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_fixed64(field: u32, value: u64, out: &mut Vec<u8>) {
    put_key(field, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_double(field: u32, value: f64, out: &mut Vec<u8>) {
    put_fixed64(field, value.to_bits(), out);
}

/// Reads a field of bytes whose number is below 16: its bytes and what follows.
/// What was not written by this module reads as something, without a panic.
pub(crate) fn take_field(encoded: &[u8]) -> (&[u8], &[u8]) {
    let (mut len, mut at) = (0_usize, 1);
    for shift in (0..28).step_by(7) {
        let byte = encoded.get(at).copied().unwrap_or_default();
        len |= usize::from(byte & 0x7f) << shift;
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let rest = encoded.get(at..).unwrap_or_default();
    rest.split_at(len.min(rest.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lengths_are_those_of_what_is_written(value: u64, field in 1_u32..3000, len in 0_usize..500) {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(prost::encoding::decode_varint(&mut &out[..]), Ok(value));
            out.clear();
            put_bytes(field, &vec![1; len], &mut out);
            prop_assert_eq!(out.len(), bytes_len(field, len));
        }

        #[test]
        fn a_field_reads_as_it_was_written(field in 1_u32..16, bytes: Vec<u8>, rest: Vec<u8>) {
            let mut out = Vec::new();
            put_bytes(field, &bytes, &mut out);
            out.extend_from_slice(&rest);
            prop_assert_eq!(take_field(&out), (&bytes[..], &rest[..]));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            take_field(&bytes);
        }
    }
}
