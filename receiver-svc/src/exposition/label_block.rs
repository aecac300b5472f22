//! What stands between the braces of a sample or an exemplar.
//!
//! The same reader serves the parse, which only wants to know that all is well
//! and where it ends, and the labels of a series, which are read on demand.

use memchr::memchr;

use super::{ParseError, cursor::Cursor};

/// How the formats differ in it.
pub(super) trait Dialect {
    /// Blanks and tabs may stand between any two tokens.
    const BLANKS: bool;
    /// A comma has to stand between two labels.
    const COMMAS: bool;
    /// A label value may hold a newline as it is.
    const NEWLINES: bool;
    /// They are an exemplar's: the metric's name may not stand among them, and
    /// Prometheus takes neither newlines in names nor null bytes in values.
    const EXEMPLAR: bool;
}

/// One thing between the braces, still escaped.
#[derive(Debug, PartialEq)]
pub(super) enum Item<'a> {
    /// The metric's name.
    MetricName(&'a [u8]),
    /// A label's name and value.
    Label(&'a [u8], &'a [u8]),
}

/// Reads the next item with the comma behind it, or the closing brace.
pub(super) fn next_item<'a, D: Dialect>(
    cursor: &mut Cursor<'a>,
) -> Result<Option<Item<'a>>, ParseError> {
    blanks::<D>(cursor);
    if cursor.eat(b'}') {
        return Ok(None);
    }
    let quoted = cursor.peek() == Some(b'"');
    let name = if quoted {
        quoted_name(cursor, !D::EXEMPLAR)?
    } else {
        cursor.take_label_name()
    };
    if !quoted && name.is_empty() {
        return Err(cursor.expected("a label name or `}`"));
    }
    blanks::<D>(cursor);
    if !D::EXEMPLAR && quoted && matches!(cursor.peek(), Some(b',' | b'}')) {
        cursor.eat(b',');
        return Ok(Some(Item::MetricName(name)));
    }
    if !cursor.eat(b'=') {
        return Err(cursor.expected("`=` after a label name"));
    }
    blanks::<D>(cursor);
    let value = value::<D>(cursor)?;
    blanks::<D>(cursor);
    if !cursor.eat(b',') && D::COMMAS && cursor.peek() != Some(b'}') {
        return Err(cursor.expected("`,` or `}` after a label"));
    }
    Ok(Some(Item::Label(name, value)))
}

/// Reads a name in quotes.
pub(super) fn quoted_name<'a>(
    cursor: &mut Cursor<'a>,
    newlines: bool,
) -> Result<&'a [u8], ParseError> {
    match cursor.take_quoted(newlines) {
        None => Err(cursor.expected("a name in quotes")),
        Some(name) if !cursor.is_utf8(name) || memchr(0, name).is_some() => {
            Err(cursor.unexpected(name, "a name of UTF-8 without null bytes"))
        }
        Some(name) => Ok(name),
    }
}

fn value<'a, D: Dialect>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    let Some(value) = cursor.take_quoted(D::NEWLINES) else {
        return Err(cursor.expected("a label value in quotes"));
    };
    if !cursor.is_utf8(value) {
        return Err(cursor.unexpected(value, "a label value of UTF-8"));
    }
    if D::EXEMPLAR && memchr(0, value).is_some() {
        return Err(cursor.unexpected(value, "a label value without null bytes"));
    }
    Ok(value)
}

fn blanks<D: Dialect>(cursor: &mut Cursor<'_>) {
    if D::BLANKS {
        cursor.skip_blanks();
    }
}
