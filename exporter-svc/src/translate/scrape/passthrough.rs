//! Copies encoded attributes to encoded labels.
//!
//! A receiver writes attributes sorted by name, all of them strings. So the labels of a
//! series are these attributes with the added labels merged in, which is faster than a
//! cache lookup. Points that do not fit this pattern take the path through the cache: a
//! label conflicts with an added one, an attribute is not a string, or the attributes
//! are not sorted.

use std::cmp::Ordering;

use mesh_contract::ha::REPLICA;
use mesh_wire::protobuf::{self, Fields, WireError};

use crate::remote_write::part::SeriesRef;

/// Added label: its name, and its value in two pieces to concatenate.
pub(super) type ExtraLabel<'a> = (&'a str, [&'a str; 2]);

/// Protobuf keys of `TimeSeries.labels`, of the name and the value in both `KeyValue`
/// and `Label`, and of `AnyValue.string_value`.
const LABEL: u8 = 1 << 3 | 2;
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING: u8 = 1 << 3 | 2;

/// Writes the labels of a series to `out`: the framed `attributes`, merged with two
/// sorted lists of added labels. Returns `None` if the point needs the path through the
/// cache.
pub(super) fn series<'a>(
    out: &'a mut Vec<u8>,
    attributes: &[u8],
    static_labels: &[(String, String)],
    own: &[ExtraLabel<'_>],
) -> Result<Option<SeriesRef<'a>>, WireError> {
    out.clear();
    let mut merge = LabelMerge::new(out, static_labels, own);
    let mut last: &[u8] = b"";
    for field in Fields::new(attributes) {
        let Some(text) = parse_string(field?.bytes()?)? else {
            return Ok(None);
        };
        let name = text.name();
        // A scraped replica label is renamed, which changes the order.
        if name <= last || name == REPLICA.as_bytes() || !merge.write_before(name) {
            return Ok(None);
        }
        last = name;
        text.put(merge.out);
    }
    if !merge.write_rest() {
        return Ok(None);
    }
    Ok(Some(SeriesRef::new(out)))
}

/// Added labels that are not yet written.
struct LabelMerge<'o, 'l> {
    out: &'o mut Vec<u8>,
    static_labels: &'l [(String, String)],
    own: &'l [ExtraLabel<'l>],
    /// First added label by name, cached because every attribute is compared with it.
    next: Option<ExtraLabel<'l>>,
}

/// Attribute whose value is a string.
enum StringAttribute<'a> {
    /// Encoded `KeyValue` in its usual form: a key of the given length, then a value.
    /// Every length fits into one byte, in a label too.
    Short(&'a [u8], usize),
    /// Name and value of any other attribute.
    Other(&'a str, &'a str),
}

// === impl LabelMerge ===

impl<'o, 'l> LabelMerge<'o, 'l> {
    fn new(
        out: &'o mut Vec<u8>,
        static_labels: &'l [(String, String)],
        own: &'l [ExtraLabel<'l>],
    ) -> Self {
        let mut merge = Self {
            out,
            static_labels,
            own,
            next: None,
        };
        merge.next = merge.smallest();
        merge
    }

    /// Writes the added labels that come before `name`. Returns false if one has the
    /// same name.
    fn write_before(&mut self, name: &[u8]) -> bool {
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

    /// Writes the remaining added labels. Returns false if two have the same name.
    fn write_rest(&mut self) -> bool {
        while let Some((name, value)) = self.next {
            put(self.out, name, value);
            if !self.advance() {
                return false;
            }
        }
        true
    }

    /// First remaining added label by name.
    fn smallest(&self) -> Option<ExtraLabel<'l>> {
        let static_label = self
            .static_labels
            .first()
            .map(|(name, value)| (&**name, [&**value, ""]));
        match (static_label, self.own.first().copied()) {
            (Some(static_label), Some(own)) if static_label.0 < own.0 => Some(static_label),
            (static_label, own) => own.or(static_label),
        }
    }

    /// Moves to the next added label. Returns false if both lists have the current
    /// name.
    fn advance(&mut self) -> bool {
        let static_labels = self.static_labels.first().map(|(name, _)| &**name);
        let own = self.own.first().map(|(name, _)| *name);
        match (static_labels, own) {
            (Some(static_labels), Some(own)) if static_labels == own => return false,
            (Some(static_labels), Some(own)) if static_labels < own => {
                self.static_labels = &self.static_labels[1..]
            }
            (Some(_), None) => self.static_labels = &self.static_labels[1..],
            _ => self.own = &self.own[1..],
        }
        self.next = self.smallest();
        true
    }
}

/// Number of bytes before a short attribute's name, and of the value's frame, which a
/// label does not have.
const BEFORE_NAME: usize = 2;
const ANY_VALUE: usize = 2;

// === impl StringAttribute ===

impl<'a> StringAttribute<'a> {
    /// Parses a short `KeyValue` of valid UTF-8.
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

    /// Appends the attribute as a `Label`. An empty value is no label.
    fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Short(pair, name_len) => {
                // The key byte of the value stays with the name, its length byte with
                // the value.
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

/// Parses a `KeyValue`. Returns `None` if its value is not a string.
fn parse_string(pair: &[u8]) -> Result<Option<StringAttribute<'_>>, WireError> {
    if let Some(text) = StringAttribute::short(pair) {
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
    Ok(Some(StringAttribute::Other(name, value.unwrap_or(""))))
}

/// Appends a `Label` as field 1.
fn put(out: &mut Vec<u8>, name: &str, [head, tail]: [&str; 2]) {
    let value = head.len() + tail.len();
    if name.len() + value < 0x80 - 4 {
        // Every length fits into one byte here too.
        let len = (name.len() + value + 4) as u8;
        out.extend_from_slice(&[LABEL, len, KEY, name.len() as u8]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[VALUE, value as u8]);
    } else {
        let len = protobuf::bytes_len(1, name.len()) + protobuf::bytes_len(2, value);
        protobuf::put_header(1, len, out);
        protobuf::put_bytes(1, name.as_bytes(), out);
        protobuf::put_header(2, value, out);
    }
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(tail.as_bytes());
}

#[cfg(test)]
mod tests {
    use mesh_wire::protobuf::put_bytes;

    use super::*;

    /// Encoded attribute with its frame.
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
    fn copies_attributes_of_every_length() {
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
    fn accepts_valid_utf8_only() {
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
