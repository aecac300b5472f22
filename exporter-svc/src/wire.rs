//! Protobuf over borrowed bytes: reading field by field, writing field by field.
//!
//! The way from OTLP bytes to remote-write bytes decides what an exporter costs,
//! and building a tree of small strings for every sample would be most of it.
//! [`Fields`] walks a message and hands out slices of it; the `put_*` functions
//! append fields to a buffer.

/// Bytes that are not a protobuf message, or not the one expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("the message ends inside field {0}")]
    Truncated(u32),
    /// A varint of more than ten bytes.
    #[error("a varint of more than ten bytes")]
    Varint,
    /// A field number of 0, or one above the largest.
    #[error("field number {0} is out of range")]
    FieldNumber(u64),
    /// A wire type that proto3 does not have.
    #[error("field {number} has wire type {wire_type}, expected 0, 1, 2 or 5")]
    WireType {
        /// The field.
        number: u32,
        /// What was found.
        wire_type: u8,
    },
    /// A field with a wire type other than its own.
    #[error("field {number} is not {expected}")]
    Mismatch {
        /// The field.
        number: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
    /// A nested message that is broken.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
}

/// The fields of one message, in the order they were written.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// The whole field as written, key included.
    pub raw: &'a [u8],
}

/// A field's value by wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// The largest field number there is.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;

// === impl Fields ===

impl<'a> Fields<'a> {
    /// Walks `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.rest;
        let key = take_varint(&mut self.rest).ok_or(WireError::Varint)?;
        let number = key >> 3;
        if number == 0 || number > MAX_FIELD_NUMBER {
            return Err(WireError::FieldNumber(number));
        }
        let number = number as u32;
        let value = match key as u8 & 7 {
            0 => Value::Varint(take_varint(&mut self.rest).ok_or(WireError::Truncated(number))?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take_array(number)?)),
            2 => {
                let len = take_varint(&mut self.rest).ok_or(WireError::Truncated(number))?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated(number))?;
                Value::Bytes(self.take(len, number)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take_array(number)?)),
            wire_type => return Err(WireError::WireType { number, wire_type }),
        };
        let raw = &start[..start.len() - self.rest.len()];
        Ok(Field { number, value, raw })
    }

    fn take(&mut self, len: usize, number: u32) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated(number))?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self, number: u32) -> Result<[u8; N], WireError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(WireError::Truncated(number))?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            // What follows a broken field cannot be told apart.
            self.rest = &[];
        }
        Some(field)
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    /// The bytes of a message, string or packed field.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch("length-delimited")),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// Where the field has another wire type or is not UTF-8.
    pub fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8(self.number))
    }

    /// A `fixed64`.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.mismatch("eight bytes wide")),
        }
    }

    /// A `double`.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn double(&self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    /// A varint.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.mismatch("a varint")),
        }
    }

    /// A `sint32`.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn sint32(&self) -> Result<i32, WireError> {
        self.varint().map(|v| unzigzag(v) as i32)
    }

    /// A Unix time in nanoseconds as milliseconds.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn time_ms(&self) -> Result<i64, WireError> {
        // The largest u64 divided by a million fits an i64.
        self.fixed64().map(|nanos| (nanos / 1_000_000) as i64)
    }

    /// Adds the values of a repeated 64-bit field, packed or not.
    ///
    /// # Errors
    /// Where the field has another wire type or its length is no multiple of
    /// eight.
    pub fn fixed64s(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(value) => out.push(value),
            Value::Bytes(packed) => {
                let (chunks, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated(self.number));
                }
                out.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
            }
            _ => return Err(self.mismatch("a list of eight-byte values")),
        }
        Ok(())
    }

    /// Adds the values of a repeated varint field, packed or not.
    ///
    /// # Errors
    /// Where the field has another wire type or ends inside a varint.
    pub fn varints(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => out.push(value),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    let value = take_varint(&mut packed);
                    out.push(value.ok_or(WireError::Truncated(self.number))?);
                }
            }
            _ => return Err(self.mismatch("a list of varints")),
        }
        Ok(())
    }

    fn mismatch(&self, expected: &'static str) -> WireError {
        let number = self.number;
        WireError::Mismatch { number, expected }
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some(value);
        }
    }
    None
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] appends.
pub fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and one byte even for zero.
    ((64 - (value | 1).leading_zeros()).div_ceil(7)) as usize
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_len(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends the key and length of a length-delimited field; its bytes follow.
pub fn put_len(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, len as u64);
}

/// Appends a `double` field unless it is positive zero, its default.
pub fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    // By bits: a negative zero is not the default.
    if value.to_bits() != 0 {
        put_varint(out, u64::from(number << 3 | 1));
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends an `int64` field unless it is zero, its default.
pub fn put_int64(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_varint(out, u64::from(number << 3));
        put_varint(out, value as u64);
    }
}

/// Appends the fields of a `Label`, framed as field `number`.
pub fn put_label(out: &mut Vec<u8>, number: u32, name: &str, value: &str) {
    let inner = |text: &str| 1 + varint_len(text.len() as u64) + text.len();
    put_len(out, number, inner(name) + inner(value));
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use proto::v1;

    use super::*;

    proptest! {
        #[test]
        fn what_prost_writes_is_read(value: f64, timestamp: i64, name in ".*") {
            let sample = v1::Sample { value, timestamp };
            let bytes = sample.encode_to_vec();
            for field in Fields::new(&bytes) {
                let field = field.unwrap();
                match field.number {
                    1 => prop_assert_eq!(field.double().unwrap().to_bits(), value.to_bits()),
                    _ => prop_assert_eq!(field.varint().unwrap() as i64, timestamp),
                }
            }
            let label = v1::Label { name: name.clone(), value: String::new() };
            for field in Fields::new(&label.encode_to_vec()) {
                prop_assert_eq!(field.unwrap().text().unwrap(), name.as_str());
            }
        }

        #[test]
        fn what_is_written_prost_reads(value: f64, timestamp: i64, name in ".*", text in ".*") {
            let mut series = Vec::new();
            put_label(&mut series, 1, &name, &text);
            let mut sample = Vec::new();
            put_double(&mut sample, 1, value);
            put_int64(&mut sample, 2, timestamp);
            put_bytes(&mut series, 2, &sample);
            let read = v1::TimeSeries::decode(series.as_slice()).unwrap();
            prop_assert_eq!(&read.labels, &[v1::Label { name, value: text }]);
            prop_assert_eq!(read.samples[0].value.to_bits(), value.to_bits());
            prop_assert_eq!(read.samples[0].timestamp, timestamp);
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let fields = Fields::new(&bytes);
            prop_assert!(fields.count() <= bytes.len());
        }

        #[test]
        fn the_length_of_a_varint_is_known(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
        }
    }

    #[test]
    fn a_negative_zero_is_not_the_default() {
        let mut out = Vec::new();
        put_double(&mut out, 1, -0.0);
        assert_eq!(out.len(), 9);
        put_double(&mut out, 1, 0.0);
        assert_eq!(out.len(), 9);
    }

    #[test]
    fn broken_messages_say_where() {
        let fails = |bytes: &[u8]| Fields::new(bytes).find_map(Result::err).unwrap();
        assert_eq!(fails(&[0x0a, 5, 1]), WireError::Truncated(1));
        assert_eq!(fails(&[0x11, 1, 2]), WireError::Truncated(2));
        assert_eq!(fails(&[0x00]), WireError::FieldNumber(0));
        assert_eq!(fails(&[0xff; 11]), WireError::Varint);
        assert_eq!(
            fails(&[0x0b]).to_string(),
            "field 1 has wire type 3, expected 0, 1, 2 or 5"
        );
    }
}
