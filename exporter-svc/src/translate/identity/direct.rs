//! Labels straight from attributes.
//!
//! A receiver writes attributes sorted by name, all of them strings, so the labels
//! of a series are these attributes with ours merged in between. That is less work
//! than any lookup. Where it is not so simple (a label is in the way of ours, an
//! attribute is not a string, another sender sorts otherwise) the point is left to
//! the slower way.

use std::cmp::Ordering;

use mesh::{
    ha::REPLICA,
    wire::{self, Fields, WireError},
};

use crate::remote_write::piece::SeriesRef;

/// A label that is merged in: its name, and its value in two parts.
pub(super) type Extra<'a> = (&'a str, [&'a str; 2]);

/// The keys of `TimeSeries.labels`, of a name and a value in both `KeyValue` and
/// `Label`, and of `AnyValue.string_value`.
const LABEL: u8 = 1 << 3 | 2;
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING: u8 = 1 << 3 | 2;

/// Writes the labels of a series into `out`: `attributes` (encoded, each with its
/// frame) merged with two lists of ours, each sorted by name. `None` where it takes
/// the slower way.
pub(super) fn series<'a>(
    out: &'a mut Vec<u8>,
    attributes: &[u8],
    stamped: &[(String, String)],
    own: &[Extra<'_>],
) -> Result<Option<SeriesRef<'a>>, WireError> {
    out.clear();
    let mut merge = Merge::new(out, stamped, own);
    let mut last: &[u8] = b"";
    for field in Fields::new(attributes) {
        let Some(text) = string(field?.bytes()?)? else {
            return Ok(None);
        };
        let name = text.name();
        // A replica that is not ours is renamed, which changes the order.
        if name <= last || name == REPLICA.as_bytes() || !merge.extras_before(name) {
            return Ok(None);
        }
        last = name;
        text.put(merge.out);
    }
    if !merge.rest() {
        return Ok(None);
    }
    Ok(Some(SeriesRef::new(out)))
}

/// The lists of ours that are not yet written.
struct Merge<'o, 'l> {
    out: &'o mut Vec<u8>,
    stamped: &'l [(String, String)],
    own: &'l [Extra<'l>],
    /// The first of them by name, which is asked of every attribute.
    next: Option<Extra<'l>>,
}

/// An attribute whose value is a string.
enum Text<'a> {
    /// An encoded `KeyValue` as nearly all are: a key of so many bytes, then a value, so
    /// short that every length is one byte, in a label too.
    Short(&'a [u8], usize),
    /// Its name and value.
    Other(&'a str, &'a str),
}

// === impl Merge ===

impl<'o, 'l> Merge<'o, 'l> {
    fn new(out: &'o mut Vec<u8>, stamped: &'l [(String, String)], own: &'l [Extra<'l>]) -> Self {
        let mut merge = Self {
            out,
            stamped,
            own,
            next: None,
        };
        merge.next = merge.first();
        merge
    }

    /// Writes ours that come before `name`; false where one has this very name.
    fn extras_before(&mut self, name: &[u8]) -> bool {
        while let Some((next, value)) = self.next {
            match next.as_bytes().cmp(name) {
                Ordering::Greater => return true,
                Ordering::Equal => return false,
                Ordering::Less => {}
            }
            put(self.out, next, value);
            if !self.advance() {
                return false;
            }
        }
        true
    }

    /// Writes all that is left of ours.
    fn rest(&mut self) -> bool {
        while let Some((name, value)) = self.next {
            put(self.out, name, value);
            if !self.advance() {
                return false;
            }
        }
        true
    }

    /// The first of ours by name.
    fn first(&self) -> Option<Extra<'l>> {
        let stamped = self
            .stamped
            .first()
            .map(|(name, value)| (&**name, [&**value, ""]));
        match (stamped, self.own.first().copied()) {
            (Some(stamped), Some(own)) if stamped.0 < own.0 => Some(stamped),
            (stamped, own) => own.or(stamped),
        }
    }

    /// Goes on to the next of ours; false where both lists have the name of this one.
    fn advance(&mut self) -> bool {
        let stamped = self.stamped.first().map(|(name, _)| &**name);
        let own = self.own.first().map(|(name, _)| *name);
        match (stamped, own) {
            (Some(stamped), Some(own)) if stamped == own => return false,
            (Some(stamped), Some(own)) if stamped < own => self.stamped = &self.stamped[1..],
            (Some(_), None) => self.stamped = &self.stamped[1..],
            _ => self.own = &self.own[1..],
        }
        self.next = self.first();
        true
    }
}

/// The bytes before a short attribute's name, and those of its value's frame, which a
/// label has not.
const BEFORE_NAME: usize = 2;
const ANY_VALUE: usize = 2;

// === impl Text ===

impl<'a> Text<'a> {
    /// An encoded `KeyValue` that is short, and valid UTF-8.
    fn short(pair: &'a [u8]) -> Option<Self> {
        let (&[KEY, name_len], rest) = pair.split_first_chunk()? else {
            return None;
        };
        let (name, rest) = rest.split_at_checked(name_len.into())?;
        let (&[VALUE, any_len, STRING, value_len], value) = rest.split_first_chunk()? else {
            return None;
        };
        let fits = usize::from(value_len) == value.len() && any_len == value_len.wrapping_add(2);
        let is_text = || pair.is_ascii() || is_utf8(name) && is_utf8(value);
        (pair.len() < 0x80 && fits && is_text()).then_some(Self::Short(pair, name.len()))
    }

    fn name(&self) -> &'a [u8] {
        match self {
            Self::Short(pair, len) => &pair[BEFORE_NAME..BEFORE_NAME + len],
            Self::Other(name, _) => name.as_bytes(),
        }
    }

    /// Appends it as a `Label`, unless it is empty, which is none.
    fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Short(pair, name_len) => {
                // The key of the value goes with the name, its length with the value.
                let (name, value) = pair.split_at(BEFORE_NAME + name_len + 1);
                let value = &value[ANY_VALUE..];
                if value != [0] {
                    let len = pair.len() - ANY_VALUE;
                    out.extend_from_slice(&[LABEL, len as u8]);
                    out.extend_from_slice(name);
                    out.extend_from_slice(value);
                }
            }
            Self::Other(_, "") => {}
            Self::Other(name, value) => put(out, name, [value, ""]),
        }
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok()
}

/// An encoded `KeyValue`, where the value is a string.
fn string(pair: &[u8]) -> Result<Option<Text<'_>>, WireError> {
    if let Some(text) = Text::short(pair) {
        return Ok(Some(text));
    }
    let (mut name, mut value) = ("", None);
    for field in Fields::new(pair) {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => {
                for any in Fields::new(field.bytes()?) {
                    let any = any?;
                    // AnyValue.string_value.
                    if any.number != 1 {
                        return Ok(None);
                    }
                    value = Some(any.text()?);
                }
            }
            _ => {}
        }
    }
    Ok(Some(Text::Other(name, value.unwrap_or(""))))
}

/// Appends a `Label` as field 1.
fn put(out: &mut Vec<u8>, name: &str, [head, tail]: [&str; 2]) {
    let value = head.len() + tail.len();
    if name.len() + value < 0x80 - 4 {
        // Every length is one byte here too.
        let len = (name.len() + value + 4) as u8;
        out.extend_from_slice(&[LABEL, len, KEY, name.len() as u8]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[VALUE, value as u8]);
    } else {
        let len = wire::bytes_len(1, name.len()) + wire::bytes_len(2, value);
        wire::put_header(1, len, out);
        wire::put_bytes(1, name.as_bytes(), out);
        wire::put_header(2, value, out);
    }
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(tail.as_bytes());
}

#[cfg(test)]
mod tests {
    use mesh::wire::put_bytes;

    use super::*;

    /// An encoded attribute with its frame.
    fn attribute(name: &[u8], value: &[u8]) -> Vec<u8> {
        let (mut any, mut pair, mut field) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(1, value, &mut any);
        put_bytes(1, name, &mut pair);
        put_bytes(2, &any, &mut pair);
        put_bytes(7, &pair, &mut field);
        field
    }

    fn labels(attributes: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        let mut out = Vec::new();
        let series = series(&mut out, attributes, &[], &[("zone", ["a", "1"])])?;
        Ok(series.map(|series| series.labels.to_vec()))
    }

    #[test]
    fn attributes_of_every_length_become_labels() {
        for (name_len, value_len) in (1..4).flat_map(|n| (0..300).map(move |v| (n, v))) {
            let (name, value) = ("n".repeat(name_len), "v".repeat(value_len));
            let mut expected = Vec::new();
            if value_len > 0 {
                put(&mut expected, &name, [&value, ""]);
            }
            put(&mut expected, "zone", ["a1", ""]);
            let found = labels(&attribute(name.as_bytes(), value.as_bytes()));
            assert_eq!(found, Ok(Some(expected)), "{name_len}, {value_len}");
        }
    }

    #[test]
    fn text_is_utf_8() {
        let found = labels(&attribute("größe".as_bytes(), "ß".as_bytes()));
        let mut expected = Vec::new();
        put(&mut expected, "größe", ["ß", ""]);
        put(&mut expected, "zone", ["a1", ""]);
        assert_eq!(found, Ok(Some(expected)));
        for (name, value) in [(&b"n\xff"[..], &b"v"[..]), (b"n", b"\xc3")] {
            assert_eq!(labels(&attribute(name, value)), Err(WireError::Utf8(1)));
        }
    }
}
