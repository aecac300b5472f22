//! Protobuf messages as their fields, one after the other, without a copy.
//!
//! Decoded into structs, a body of a few bytes per message could ask for many
//! times its size in memory; walked like this it asks for none.

/// The fields of a message that are not read yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// Its number in the message's definition.
    pub(super) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32,
    Bytes(&'a [u8]),
}

/// The bytes are not of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("expected more bytes, found the end of the message")]
    Truncated,
    #[error("expected a number of at most 64 bits")]
    Varint,
    #[error("expected a field, found tag {0}")]
    Tag(u64),
    #[error("expected {expected} in field {field}, found another wire type")]
    Type { field: u32, expected: &'static str },
    #[error("expected UTF-8 in field {field}")]
    Utf8 { field: u32 },
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, or `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.is_empty() {
            return Ok(None);
        }
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(WireError::Tag(tag))?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(array(&mut self.rest)?),
            2 => Value::Bytes(delimited(&mut self.rest)?),
            5 => {
                array::<4>(&mut self.rest)?;
                Value::Fixed32
            }
            _ => return Err(WireError::Tag(tag)),
        };
        Ok(Some(Field { number, value }))
    }

    /// The next field of this number, or `None` where there are no more.
    pub(super) fn next_of(&mut self, number: u32) -> Result<Option<Field<'a>>, WireError> {
        while let Some(field) = self.next()? {
            if field.number == number {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.not("a message or text")),
        }
    }

    pub(super) fn fields(self) -> Result<Fields<'a>, WireError> {
        self.bytes().map(Fields::new)
    }

    pub(super) fn text(self) -> Result<&'a str, WireError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| WireError::Utf8 { field: self.number })
    }

    pub(super) fn unsigned(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.not("an integer")),
        }
    }

    pub(super) fn double(self) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(self.not("a double")),
        }
    }

    /// A `sint32`. More bits are cut off, as every decoder does.
    pub(super) fn zigzag32(self) -> Result<i32, WireError> {
        self.unsigned()
            .map(|value| zigzag(u64::from(value as u32)) as i32)
    }

    /// Adds the numbers of a repeated `double`, packed or not.
    pub(super) fn doubles(self, out: &mut Vec<f64>) -> Result<(), WireError> {
        let Value::Bytes(mut packed) = self.value else {
            out.push(self.double()?);
            return Ok(());
        };
        while !packed.is_empty() {
            out.push(f64::from_le_bytes(array(&mut packed)?));
        }
        Ok(())
    }

    /// Adds the numbers of a repeated `sint64`, packed or not.
    pub(super) fn zigzags(self, out: &mut Vec<i64>) -> Result<(), WireError> {
        let Value::Bytes(mut packed) = self.value else {
            out.push(zigzag(self.unsigned()?));
            return Ok(());
        };
        while !packed.is_empty() {
            out.push(zigzag(varint(&mut packed)?));
        }
        Ok(())
    }

    fn not(self, expected: &'static str) -> WireError {
        WireError::Type {
            field: self.number,
            expected,
        }
    }
}

/// Splits a length and as many bytes off.
pub(super) fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(varint(rest)?).map_err(|_| WireError::Truncated)?;
    let (taken, behind) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
    *rest = behind;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (taken, behind) = rest.split_first_chunk().ok_or(WireError::Truncated)?;
    *rest = behind;
    Ok(*taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first().ok_or(WireError::Truncated)?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Varint)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_walked_and_unknown_ones_can_be_skipped() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x12, 0x02, b'h', b'i', // 2: bytes
            0x1d, 1, 2, 3, 4, // 3: fixed32
            0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // 4: double 1
        ];
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next().unwrap().unwrap().unsigned(), Ok(150));
        assert_eq!(fields.next_of(4).unwrap().unwrap().double(), Ok(1.0));
        assert!(fields.next().unwrap().is_none());
        let text = Fields::new(&message).next_of(2).unwrap().unwrap();
        assert_eq!(text.text(), Ok("hi"));
        let expected = "a double";
        assert_eq!(text.double(), Err(WireError::Type { field: 2, expected }));
    }

    #[test]
    fn packed_and_single_numbers_are_the_same() {
        let read = |message: &[u8]| {
            let (mut fields, mut out) = (Fields::new(message), Vec::new());
            while let Some(field) = fields.next().unwrap() {
                field.zigzags(&mut out).unwrap();
            }
            out
        };
        assert_eq!(read(&[0x08, 1, 0x08, 4]), [-1, 2]);
        assert_eq!(read(&[0x0a, 2, 1, 4]), [-1, 2]);
    }

    #[test]
    fn broken_messages_are_errors() {
        let next = |message: &[u8]| Fields::new(message).next().map(|_| ()).unwrap_err();
        assert_eq!(next(&[0x80]), WireError::Truncated);
        assert_eq!(next(&[0xff; 11]), WireError::Varint);
        assert_eq!(next(&[0x00]), WireError::Tag(0));
        assert_eq!(next(&[0x0b]), WireError::Tag(11));
        assert_eq!(next(&[0x0a, 5, 1]), WireError::Truncated);
        assert_eq!(next(&[0x09, 1]), WireError::Truncated);
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(next(&huge), WireError::Truncated);
    }
}
