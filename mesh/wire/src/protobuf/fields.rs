//! Reading: a message as its fields, one after the other, without a copy.
//!
//! Decoded into structs, a message of a few bytes could ask for many times its
//! size in memory; walked like this it asks for none.

/// Bytes that are not a protobuf message, or not the one expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("the message ends inside field {0}")]
    Truncated(u32),
    /// A varint of more than ten bytes, or one that is cut off.
    #[error("a varint that does not end")]
    Varint,
    /// A message that is shorter than its length says.
    #[error("expected a message of {0} bytes, found the end")]
    Length(u64),
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
    /// A field without which the message means nothing is not there.
    #[error("field {0} is missing or empty")]
    Missing(u32),
    /// A field with a wire type other than its own.
    #[error("field {number} is not {expected}")]
    Mismatch {
        /// The field.
        number: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("expected UTF-8 in field {0}")]
    Utf8(u32),
    /// A nested message that is broken.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
}

/// The fields of one message, in the order they were written. A copy of it walks
/// them again.
#[derive(Clone, Copy, Debug, Default)]
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

    /// The next field of this number, or `None` where there are no more.
    ///
    /// # Errors
    /// Where the message is broken before it.
    pub fn next_of(&mut self, number: u32) -> Result<Option<Field<'a>>, WireError> {
        self.find(|field| !matches!(field, Ok(field) if field.number != number))
            .transpose()
    }

    /// The next field where it is as nearly all are: length-delimited, with a key and a
    /// length of one byte each.
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

    /// A `sint32`. More bits are cut off, as every decoder does.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn sint32(&self) -> Result<i32, WireError> {
        self.varint()
            .map(|value| unzigzag(u64::from(value as u32)) as i32)
    }

    /// A Unix time in nanoseconds as milliseconds.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn time_ms(&self) -> Result<i64, WireError> {
        // The largest u64 divided by a million fits an i64.
        self.fixed64().map(|nanos| (nanos / 1_000_000) as i64)
    }

    /// A nested message.
    ///
    /// # Errors
    /// Where the field has another wire type.
    pub fn fields(&self) -> Result<Fields<'a>, WireError> {
        self.bytes().map(Fields::new)
    }

    /// Adds the values of a repeated `fixed64`, packed or not.
    ///
    /// # Errors
    /// Where the field has another wire type or its length is no multiple of
    /// eight.
    pub fn fixed64s(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        self.each_fixed64(|value| out.push(value))
    }

    /// Adds the values of a repeated `double`, packed or not.
    ///
    /// # Errors
    /// As [`Self::fixed64s`].
    pub fn doubles(&self, out: &mut Vec<f64>) -> Result<(), WireError> {
        self.each_fixed64(|value| out.push(f64::from_bits(value)))
    }

    /// Adds the values of a repeated varint field, packed or not.
    ///
    /// # Errors
    /// Where the field has another wire type or ends inside a varint.
    pub fn varints(&self, out: &mut Vec<u64>) -> Result<(), WireError> {
        self.each_varint(|value| out.push(value))
    }

    /// Adds the values of a repeated `sint64`, packed or not.
    ///
    /// # Errors
    /// As [`Self::varints`].
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

/// Splits a length and as many bytes off, as messages in a stream are written.
///
/// # Errors
/// Where `stream` ends before.
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
            let message = label.encode_length_delimited_to_vec();
            let mut stream = &message[..];
            prop_assert_eq!(take_delimited(&mut stream), Ok(&label.encode_to_vec()[..]));
            prop_assert!(stream.is_empty());
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let fields = Fields::new(&bytes);
            prop_assert!(fields.count() <= bytes.len());
        }
    }

    #[test]
    fn unknown_fields_can_be_passed_over() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x12, 0x02, b'h', b'i', // 2: bytes
            0x1d, 1, 2, 3, 4, // 3: fixed32
            0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // 4: double 1
        ];
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next().unwrap().unwrap().varint(), Ok(150));
        assert_eq!(fields.next_of(4).unwrap().unwrap().double(), Ok(1.0));
        assert_eq!(fields.next_of(4), Ok(None));
        let text = Fields::new(&message).next_of(2).unwrap().unwrap();
        assert_eq!(text.text(), Ok("hi"));
        let error = text.double().unwrap_err();
        assert_eq!(error.to_string(), "field 2 is not eight bytes wide");
    }

    #[test]
    fn packed_and_single_numbers_are_the_same() {
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
    fn broken_messages_say_where() {
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
