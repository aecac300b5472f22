//! Parses the Prometheus text formats 0.0.4 and 1.0.0.
//!
//! One parser handles both versions, because 1.0.0 only adds quoted names.
//!
//! If the description of the format and Prometheus disagree, the parser follows
//! Prometheus. For example, commas between labels are optional, blanks before a name are
//! part of the name, and a null byte at the start of a line ends the body.

use std::borrow::Cow;

use memchr::memchr;

use super::{
    Entry, Exemplar, MetricType, ParseError, Parser, Series, cursor::Cursor, float,
    label_block::Dialect, metadata::FamilyMetadata, nhcb::BodyParser, series_text,
};

/// Parser of a text body of version 0.0.4 or 1.0.0.
#[derive(Clone, Debug)]
pub(super) struct TextParser<'a> {
    cursor: Cursor<'a>,
    metadata: FamilyMetadata<'a>,
    /// Text of the series that was returned last.
    raw: &'a [u8],
}

/// Label syntax of the Prometheus text formats.
struct TextLabels;

// === impl TextParser ===

impl<'a> TextParser<'a> {
    /// Creates a parser of `body`. `type_and_unit` adds the labels `__type__` and
    /// `__unit__`.
    pub(super) fn new(body: &'a [u8], type_and_unit: bool) -> Self {
        Self {
            cursor: Cursor::new(body),
            metadata: FamilyMetadata::new(type_and_unit),
            raw: &[],
        }
    }

    /// Reads a sample whose line begins at `start`.
    fn series(&mut self, start: Cursor<'a>) -> Result<Entry<'a>, ParseError> {
        if !matches!(
            self.cursor.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' | b'{')
        ) {
            return Err(self.cursor.expected("a metric name, `{` or `#`"));
        }
        self.cursor = start;
        let start = self.cursor.at();
        series_text::read::<TextLabels>(&mut self.cursor)?;
        self.sample(self.cursor.since(start))
    }

    /// Reads the rest of a sample, after the text of its series.
    fn sample(&mut self, raw: &'a [u8]) -> Result<Entry<'a>, ParseError> {
        self.raw = raw;
        let cursor = &mut self.cursor;
        cursor.skip_whitespace();
        let value = value(cursor)?;
        let timestamp = timestamp(cursor)?;
        Ok(Entry::Series(Series {
            raw,
            timestamp,
            value,
        }))
    }

    /// Reads a comment or a metadata line. Returns `None` if a null byte ends the body.
    fn comment(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let cursor = &mut self.cursor;
        let start = cursor.at();
        cursor.bump();
        let hash = cursor.at();
        cursor.skip_whitespace();
        let has_blank = cursor.at() > hash;
        if has_blank {
            if keyword(cursor, b"HELP") {
                return help(cursor).map(Some);
            }
            if keyword(cursor, b"TYPE") {
                let (metric, metric_type) = metric_type(cursor)?;
                self.metadata.metric_type = metric_type;
                return Ok(Some(Entry::Type {
                    metric,
                    metric_type,
                }));
            }
        }
        let text = cursor.take_line();
        // After a blank, only a null byte at the start of the text ends the body.
        let checked = if has_blank {
            text.get(..1).unwrap_or_default()
        } else {
            text
        };
        if memchr(0, checked).is_some() {
            cursor.skip_to_end();
            return Ok(None);
        }
        Ok(Some(Entry::Comment(cursor.since(start))))
    }

    /// Reads the next entry. `expected` is the text of the series that probably follows.
    fn entry(&mut self, expected: &[u8]) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            if let Some(raw) = self.cursor.take_series(expected) {
                return self.sample(raw).map(Some);
            }
            let start = self.cursor.clone();
            self.cursor.skip_whitespace();
            match self.cursor.peek() {
                None | Some(0) => {
                    self.cursor.skip_to_end();
                    return Ok(None);
                }
                Some(b'\n') => self.cursor.bump(),
                Some(b'#') => return self.comment(),
                Some(_) => return self.series(start).map(Some),
            }
        }
    }
}

impl<'a> BodyParser<'a> for TextParser<'a> {
    fn advance(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        self.entry(b"")
    }
}

impl Parser for TextParser<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        self.entry(b"")
    }

    fn next_expecting(&mut self, expected: &[u8]) -> Result<Option<Entry<'_>>, ParseError> {
        self.entry(expected)
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        series_text::labels::<TextLabels>(self.raw, &self.metadata, out);
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        None
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        None
    }
}

// === impl TextLabels ===

impl Dialect for TextLabels {
    const WHITESPACE: bool = true;
    const COMMAS: bool = false;
    const NEWLINES: bool = true;
    const EXEMPLAR: bool = false;
}

fn value(cursor: &mut Cursor<'_>) -> Result<f64, ParseError> {
    let text = cursor.take_while(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n'));
    if text.is_empty() {
        return Err(cursor.expected("a value"));
    }
    float::value(text).ok_or_else(|| cursor.unexpected(text, "a number as a value"))
}

/// Reads the timestamp after a value, if there is one, up to the end of the line.
fn timestamp(cursor: &mut Cursor<'_>) -> Result<Option<i64>, ParseError> {
    cursor.skip_whitespace();
    let digits = cursor.take_while(|byte| byte.is_ascii_digit());
    cursor.skip_whitespace();
    if !matches!(cursor.peek(), None | Some(b'\n')) {
        let or_timestamp = if digits.is_empty() {
            "a timestamp or "
        } else {
            ""
        };
        return Err(cursor.expected(&format!("{or_timestamp}the end of the line")));
    }
    if digits.is_empty() {
        return Ok(None);
    }
    let parsed = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| cursor.unexpected(digits, "a timestamp of 64 bits"))
}

/// Reads `word` and the whitespace after it. Reads nothing if another word follows.
fn keyword(cursor: &mut Cursor<'_>, word: &[u8]) -> bool {
    let mut ahead = cursor.clone();
    let found = ahead.eat_keyword(word) && matches!(ahead.peek(), Some(b' ' | b'\t'));
    if found {
        ahead.skip_whitespace_and_nulls();
        *cursor = ahead;
    }
    found
}

fn help<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, ParseError> {
    let metric = family_name(cursor)?;
    let text = text(cursor);
    if !cursor.is_utf8(text) {
        return Err(cursor.unexpected(text, "a help text of UTF-8"));
    }
    let help = series_text::unescape_help(text);
    Ok(Entry::Help { metric, help })
}

fn metric_type<'a>(cursor: &mut Cursor<'a>) -> Result<(Cow<'a, str>, MetricType), ParseError> {
    let metric = family_name(cursor)?;
    let metric_type = match text(cursor) {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"histogram" => MetricType::Histogram,
        b"summary" => MetricType::Summary,
        b"untyped" => MetricType::Unknown,
        other => {
            let types = "counter, gauge, histogram, summary or untyped";
            return Err(cursor.unexpected(other, types));
        }
    };
    Ok((metric, metric_type))
}

/// Reads the family name of a metadata line. A null byte must not follow it.
fn family_name<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, ParseError> {
    let name = series_text::family_name(cursor)?;
    match cursor.peek() {
        Some(0) => Err(cursor.expected("a space after the metric name")),
        _ => Ok(series_text::unescape(name)),
    }
}

/// Reads the rest of a metadata line. Drops the first byte, which separates the name
/// from the text. Any further whitespace belongs to the text, unless nothing else does.
fn text<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    let line = cursor.take_line();
    match line {
        [_, text @ ..] if line.iter().any(|byte| !matches!(byte, b' ' | b'\t' | 0)) => text,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
