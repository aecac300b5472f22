//! Parses the labels between the braces of a sample or an exemplar.
//!
//! A scrape uses it twice: to validate each line, and to read the labels of a series
//! on demand.

use memchr::memchr;

use super::{ParseError, cursor::Cursor};

/// Label syntax of one format.
pub(super) trait Dialect {
    /// Allows spaces and tabs between any two tokens.
    const WHITESPACE: bool;
    /// Requires a comma between two labels.
    const COMMAS: bool;
    /// Allows unescaped newlines in label values.
    const NEWLINES: bool;
    /// Applies the rules for exemplars: no metric name between the braces, no newlines
    /// in names and no null bytes in values.
    const EXEMPLAR: bool;
}

/// Metric name or label between the braces, still escaped.
#[derive(Debug, PartialEq)]
pub(super) enum Item<'a> {
    /// Quoted metric name.
    MetricName(&'a [u8]),
    /// Name and value of a label.
    Label(&'a [u8], &'a [u8]),
}

/// Reads the next item and the comma after it. Returns `None` after the closing brace.
pub(super) fn next_item<'a, D: Dialect>(
    cursor: &mut Cursor<'a>,
) -> Result<Option<Item<'a>>, ParseError> {
    skip_whitespace::<D>(cursor);
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
    skip_whitespace::<D>(cursor);
    if !D::EXEMPLAR && quoted && matches!(cursor.peek(), Some(b',' | b'}')) {
        cursor.eat(b',');
        return Ok(Some(Item::MetricName(name)));
    }
    if !cursor.eat(b'=') {
        return Err(cursor.expected("`=` after a label name"));
    }
    if D::WHITESPACE {
        cursor.skip_whitespace_and_nulls();
    }
    let value = value::<D>(cursor)?;
    skip_whitespace::<D>(cursor);
    if !cursor.eat(b',') && D::COMMAS && cursor.peek() != Some(b'}') {
        return Err(cursor.expected("`,` or `}` after a label"));
    }
    Ok(Some(Item::Label(name, value)))
}

/// Reads a quoted name.
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
    let value = if D::EXEMPLAR {
        cursor.take_quoted(D::NEWLINES)
    } else {
        cursor.take_quoted_value(D::NEWLINES)
    };
    let Some(value) = value else {
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

fn skip_whitespace<D: Dialect>(cursor: &mut Cursor<'_>) {
    if D::WHITESPACE {
        cursor.skip_whitespace();
    }
}
