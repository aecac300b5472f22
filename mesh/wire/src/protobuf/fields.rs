//! Reads a message as a sequence of fields, without copies or allocations.
//!
//! A decoder that builds structs can allocate many times the size of a hostile message.
//! This reader allocates nothing.

/// Error for bytes that are not a valid message of the expected type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("the message ends inside field {0}")]
    Truncated(u32),
    /// A varint is truncated or longer than ten bytes.
    #[error("a varint is truncated or longer than ten bytes")]
    Varint,
    /// The stream ends before a message of this length in bytes.
    #[error("expected a message of {0} bytes, found the end")]
    Length(u64),
    /// A field number is 0 or above 2^29 - 1.
    #[error("field number {0} is out of range")]
    FieldNumber(u64),
    /// A field has a wire type that proto3 does not define.
    #[error("field {number} has wire type {wire_type}, expected 0, 1, 2 or 5")]
    WireType {
        /// The field number.
        number: u32,
        /// The wire type found.
        wire_type: u8,
    },
    /// A required field is missing or empty.
    #[error("field {0} is missing or empty")]
    Missing(u32),
    /// A field has a wire type other than that of its definition.
    #[error("field {number} is not {expected}")]
    Mismatch {
        /// The field number.
        number: u32,
        /// Description of the expected type.
        expected: &'static str,
    },
    /// A string field is not UTF-8.
    #[error("expected UTF-8 in field {0}")]
    Utf8(u32),
    /// A nested message cannot be decoded.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
}

/// Iterator over the fields of one message, in wire order. A copy iterates again from the
/// same position. After an error it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Field number.
    pub number: u32,
    /// Decoded value.
    pub value: Value<'a>,
    /// Encoded bytes of the whole field, including its key.
    pub raw: &'a [u8],
}

/// Value of a field, by wire type.
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

/// Largest valid field number.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;

// === impl Fields ===

impl<'a> Fields<'a> {
    /// Iterates over the fields of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field with this number, or `None` if there are no more.
    ///
    /// # Errors
    /// Returns an error if the message is invalid before that field.
    pub fn next_with_number(&mut self, number: u32) -> Result<Option<Field<'a>>, WireError> {
        self.find(|field| !matches!(field, Ok(field) if field.number != number))
            .transpose()
    }

    /// Fast path for the most common fields: length-delimited, with a key and a length of
    /// one byte each. Returns `None` for all others.
    #[inline]
    fn short(&mut self) -> Option<Field<'a>> {
        let start = self.rest;
        let (&[key, len], rest) = start.split_first_chunk()?;
        let is_short = key & 0x87 == 2 && key > 7 && len < 0x80;
        let (bytes, rest) = rest.split_at_checked(len.into()).filter(|_| is_short)?;
        self.rest = rest;
        Some(Field {
            number: u32::from(key >> 3),
            value: Value::Bytes(bytes),
            raw: &start[..2 + bytes.len()],
        })
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

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some(field) = self.short() {
            return Some(Ok(field));
        }
        let field = self.read();
        if field.is_err() {
            // The next field's start is unknown after an invalid field.
            self.rest = &[];
        }
        Some(field)
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    /// Returns the bytes of a message, string or packed field.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mismatch("length-delimited")),
        }
    }

    /// Returns the value of a `string`.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type, or is not UTF-8.
    pub fn text(&self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8(self.number))
    }

    /// Returns the value of a `fixed64`.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.mismatch("eight bytes wide")),
        }
    }

    /// Returns the value of a `double`.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn double(&self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    /// Returns the value of a varint field, such as `uint64`, `int64` or `bool`.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.mismatch("a varint")),
        }
    }

    /// Returns the value of a `sint32`. Ignores the upper 32 bits, as every decoder does.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn sint32(&self) -> Result<i32, WireError> {
        self.varint()
            .map(|value| unzigzag(u64::from(value as u32)) as i32)
    }

    /// Returns a Unix time in milliseconds, from a `fixed64` in nanoseconds.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn time_ms(&self) -> Result<i64, WireError> {
        // u64::MAX / 1_000_000 fits into an i64.
        self.fixed64().map(|nanos| (nanos / 1_000_000) as i64)
    }

    /// Returns the fields of a nested message.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type.
    pub fn fields(&self) -> Result<Fields<'a>, WireError> {
        self.bytes().map(Fields::new)
    }

    /// Appends the values of a repeated `fixed64`, packed or not.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type, or if a packed field's
    /// length is not a multiple of eight.
    pub fn fixed64s(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        self.each_fixed64(|value| out.push(value))
    }

    /// Appends the values of a repeated `double`, packed or not.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::fixed64s`].
    pub fn doubles(&self, out: &mut Vec<f64>) -> Result<(), WireError> {
        self.each_fixed64(|value| out.push(f64::from_bits(value)))
    }

    /// Appends the values of a repeated varint field, packed or not.
    ///
    /// # Errors
    /// Returns an error if the field has another wire type, or ends inside a varint.
    pub fn varints(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        self.each_varint(|value| out.push(value))
    }

    /// Appends the values of a repeated `sint64`, packed or not.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::varints`].
    pub fn sint64s(&self, out: &mut Vec<i64>) -> Result<(), WireError> {
        self.each_varint(|value| out.push(unzigzag(value)))
    }

    fn each_fixed64(&self, mut take: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(value) => take(value),
            Value::Bytes(packed) => {
                let (chunks, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated(self.number));
                }
                for chunk in chunks {
                    take(u64::from_le_bytes(*chunk));
                }
            }
            _ => return Err(self.mismatch("a list of eight-byte values")),
        }
        Ok(())
    }

    fn each_varint(&self, mut take: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => take(value),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    let value = take_varint(&mut packed);
                    take(value.ok_or(WireError::Truncated(self.number))?);
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

/// Splits one length-prefixed message off the start of `stream`.
///
/// # Errors
/// Returns an error if `stream` ends before the end of the message.
pub fn take_delimited<'a>(stream: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let len = take_varint(stream).ok_or(WireError::Varint)?;
    let taken = usize::try_from(len)
        .ok()
        .and_then(|len| stream.split_at_checked(len));
    let (taken, rest) = taken.ok_or(WireError::Length(len))?;
    *stream = rest;
    Ok(taken)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use proto::v1;

    use super::*;

    proptest! {
        #[test]
        fn reads_messages_that_prost_encodes(value: f64, timestamp: i64, name in ".*") {
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
            let message = label.encode_length_delimited_to_vec();
            let mut stream = &message[..];
            prop_assert_eq!(take_delimited(&mut stream), Ok(&label.encode_to_vec()[..]));
            prop_assert!(stream.is_empty());
        }

        #[test]
        fn ends_on_any_input(bytes: Vec<u8>) {
            let fields = Fields::new(&bytes);
            prop_assert!(fields.count() <= bytes.len());
        }
    }

    #[test]
    fn skips_unknown_fields() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x12, 0x02, b'h', b'i', // 2: bytes
            0x1d, 1, 2, 3, 4, // 3: fixed32
            0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // 4: double 1
        ];
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next().unwrap().unwrap().varint(), Ok(150));
        assert_eq!(
            fields.next_with_number(4).unwrap().unwrap().double(),
            Ok(1.0)
        );
        assert_eq!(fields.next_with_number(4), Ok(None));
        let text = Fields::new(&message).next_with_number(2).unwrap().unwrap();
        assert_eq!(text.text(), Ok("hi"));
        let error = text.double().unwrap_err();
        assert_eq!(error.to_string(), "field 2 is not eight bytes wide");
    }

    #[test]
    fn reads_packed_and_unpacked_fields_alike() {
        let read = |message: &[u8]| {
            let mut out = Vec::new();
            for field in Fields::new(message) {
                field.unwrap().sint64s(&mut out).unwrap();
            }
            out
        };
        assert_eq!(read(&[0x08, 1, 0x08, 4]), [-1, 2]);
        assert_eq!(read(&[0x0a, 2, 1, 4]), [-1, 2]);
    }

    #[test]
    fn names_the_invalid_field() {
        let fails = |bytes: &[u8]| Fields::new(bytes).find_map(Result::err).unwrap();
        assert_eq!(fails(&[0x0a, 5, 1]), WireError::Truncated(1));
        assert_eq!(fails(&[0x11, 1, 2]), WireError::Truncated(2));
        assert_eq!(fails(&[0x00]), WireError::FieldNumber(0));
        assert_eq!(fails(&[0x80]), WireError::Varint);
        assert_eq!(fails(&[0xff; 11]), WireError::Varint);
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(fails(&huge), WireError::Truncated(1));
        assert_eq!(take_delimited(&mut &[5, 1][..]), Err(WireError::Length(5)));
        assert_eq!(
            fails(&[0x0b]).to_string(),
            "field 1 has wire type 3, expected 0, 1, 2 or 5"
        );
    }
}
