//! Labels straight from attributes.
//!
//! A receiver writes attributes sorted by name, all of them strings, so the labels
//! of a series are these attributes with ours merged in between. That is less work
//! than any lookup. Where it is not so simple (a label is in the way of ours, an
//! attribute is not a string, another sender sorts otherwise) the point is left to
//! the slower way.

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
    let mut merge = Merge { out, stamped, own };
    let mut last: &str = "";
    for field in Fields::new(attributes) {
        let Some((name, value)) = string(field?.bytes()?)? else {
            return Ok(None);
        };
        // A replica that is not ours is renamed, which changes the order.
        if name <= last || name == REPLICA || !merge.extras_before(name) {
            return Ok(None);
        }
        last = name;
        if !value.is_empty() {
            put(merge.out, name, [value, ""]);
        }
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
}

// === impl Merge ===

impl<'l> Merge<'_, 'l> {
    /// Writes ours that come before `name`; false where one has this very name.
    fn extras_before(&mut self, name: &str) -> bool {
        loop {
            match self.next() {
                Some((next, _)) if next == name => return false,
                Some((next, value)) if next < name => {
                    put(self.out, next, value);
                    if !self.advance() {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    /// Writes all that is left of ours.
    fn rest(&mut self) -> bool {
        while let Some((name, value)) = self.next() {
            put(self.out, name, value);
            if !self.advance() {
                return false;
            }
        }
        true
    }

    /// The next of ours by name.
    fn next(&self) -> Option<Extra<'l>> {
        let stamped = self
            .stamped
            .first()
            .map(|(name, value)| (&**name, [&**value, ""]));
        match (stamped, self.own.first().copied()) {
            (Some(stamped), Some(own)) if stamped.0 < own.0 => Some(stamped),
            (stamped, own) => own.or(stamped),
        }
    }

    /// Goes beyond [`Merge::next`]; false where both lists have that name.
    fn advance(&mut self) -> bool {
        let stamped = self.stamped.first().map(|(name, _)| &**name);
        let own = self.own.first().map(|(name, _)| *name);
        match (stamped, own) {
            (Some(stamped), Some(own)) if stamped == own => return false,
            (Some(stamped), Some(own)) if stamped < own => self.stamped = &self.stamped[1..],
            (Some(_), None) => self.stamped = &self.stamped[1..],
            _ => self.own = &self.own[1..],
        }
        true
    }
}

/// Name and value of an encoded `KeyValue`, where the value is a string.
fn string(pair: &[u8]) -> Result<Option<(&str, &str)>, WireError> {
    if let Some((name, value)) = short(pair) {
        let text = |bytes, number| str::from_utf8(bytes).map_err(|_| WireError::Utf8(number));
        return Ok(Some((text(name, 1)?, text(value, 2)?)));
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
    Ok(Some((name, value.unwrap_or(""))))
}

/// The same of nearly all there are: a key, then a value, each shorter than 126
/// bytes, so that every length is one byte.
fn short(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[KEY, name_len], rest) = pair.split_first_chunk()? else {
        return None;
    };
    let (name, rest) = rest.split_at_checked(name_len.into())?;
    let (&[VALUE, any_len, STRING, value_len], value) = rest.split_first_chunk()? else {
        return None;
    };
    let is_short = name_len < 0x80 && any_len < 0x80;
    let fits = usize::from(value_len) == value.len() && any_len == value_len.wrapping_add(2);
    (is_short && fits).then_some((name, value))
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
