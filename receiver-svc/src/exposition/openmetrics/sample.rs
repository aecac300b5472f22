//! Parses the sample lines of OpenMetrics.

use crate::exposition::{
    Exemplar, ParseError,
    cursor::Cursor,
    float,
    label_block::{self, Dialect, Item},
    series_text,
};

/// Parsed line of a sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample<'a> {
    /// Exposed text of the name and labels.
    pub(super) raw: &'a [u8],
    /// Metric name, still escaped.
    pub(super) name: &'a [u8],
    pub(super) timestamp: Option<i64>,
    pub(super) value: f64,
    pub(super) exemplar: Option<RawExemplar<'a>>,
    /// Set if the line has an invalid text after the value. As in Prometheus, the parser
    /// returns the sample before the error.
    pub(super) is_incomplete: bool,
}

/// Expected text after the value of a sample.
pub(super) const END_OF_LINE: &str = "a timestamp, an exemplar or the end of the line";

/// Exemplar whose labels are not parsed yet.
#[derive(Clone, Debug)]
pub(super) struct RawExemplar<'a> {
    /// Text after the opening brace, including the closing brace.
    labels: &'a [u8],
    value: f64,
    timestamp: Option<i64>,
}

/// Label syntax of OpenMetrics samples.
pub(super) struct SampleLabels;

/// Label syntax of OpenMetrics exemplars.
struct ExemplarLabels;

// === impl Sample ===

impl<'a> Sample<'a> {
    /// Reads a line. `expected` is the text of the series that it probably has.
    pub(super) fn read(cursor: &mut Cursor<'a>, expected: &[u8]) -> Result<Self, ParseError> {
        let start = cursor.at();
        if let Some(name) = series_text::bare_name(expected)
            && let Some(raw) = cursor.take_series(expected)
        {
            return Self::rest(cursor, raw, &raw[..name.len()]);
        }
        if !matches!(
            cursor.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' | b'{')
        ) {
            return Err(cursor.expected("a metric name, `{` or `# EOF`"));
        }
        let name = series_text::read::<SampleLabels>(cursor)?;
        Self::rest(cursor, cursor.since(start), name)
    }

    /// Reads the rest of a line, after the text of its series.
    fn rest(cursor: &mut Cursor<'a>, raw: &'a [u8], name: &'a [u8]) -> Result<Self, ParseError> {
        let value = number(cursor, "a value")?;
        let timestamp = timestamp(cursor)?;
        let exemplar = RawExemplar::read(cursor)?;
        let is_complete = cursor.eat(b'\n');
        let has_value_only = timestamp.is_none() && exemplar.is_none();
        if !is_complete && (!has_value_only || cursor.peek().is_none()) {
            return Err(cursor.expected(END_OF_LINE));
        }
        Ok(Self {
            raw,
            name,
            timestamp,
            value,
            exemplar,
            is_incomplete: !is_complete,
        })
    }

    pub(super) fn is_created(&self) -> bool {
        self.name.ends_with(b"_created")
    }
}

// === impl RawExemplar ===

impl<'a> RawExemplar<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Option<Self>, ParseError> {
        if !cursor.eat_text(b" # {") {
            return Ok(None);
        }
        let start = cursor.at();
        while label_block::next_item::<ExemplarLabels>(cursor)?.is_some() {}
        let labels = cursor.since(start);
        let value = number(cursor, "an exemplar value")?;
        let timestamp = timestamp(cursor)?;
        Ok(Some(Self {
            labels,
            value,
            timestamp,
        }))
    }

    /// Parses and unescapes the labels.
    pub(super) fn resolve(self) -> Exemplar {
        let Self {
            labels,
            value,
            timestamp,
        } = self;
        let mut cursor = Cursor::over_validated(labels);
        let mut labels = Vec::new();
        while let Ok(Some(Item::Label(name, value))) =
            label_block::next_item::<ExemplarLabels>(&mut cursor)
        {
            let (name, value) = (series_text::unescape(name), series_text::unescape(value));
            labels.push((name.into_owned(), value.into_owned()));
        }
        Exemplar {
            labels,
            value,
            timestamp,
        }
    }
}

// === impl SampleLabels ===

impl Dialect for SampleLabels {
    const WHITESPACE: bool = false;
    const COMMAS: bool = true;
    const NEWLINES: bool = false;
    const EXEMPLAR: bool = false;
}

// === impl ExemplarLabels ===

impl Dialect for ExemplarLabels {
    const WHITESPACE: bool = false;
    const COMMAS: bool = true;
    const NEWLINES: bool = false;
    const EXEMPLAR: bool = true;
}

/// Reads a space and the number after it.
fn number(cursor: &mut Cursor<'_>, what: &str) -> Result<f64, ParseError> {
    if !cursor.eat(b' ') {
        return Err(cursor.expected(&format!("a space and {what}")));
    }
    let text = cursor.take_while(|byte| !matches!(byte, b' ' | b'\n' | 0));
    if text.is_empty() {
        return Err(cursor.expected(what));
    }
    float::value(text).ok_or_else(|| cursor.unexpected(text, &format!("a number as {what}")))
}

/// Reads a timestamp in seconds, if there is one. Returns milliseconds.
fn timestamp(cursor: &mut Cursor<'_>) -> Result<Option<i64>, ParseError> {
    let mut ahead = cursor.clone();
    let has_text = ahead.eat(b' ') && !matches!(ahead.peek(), None | Some(b' ' | b'\n' | 0));
    if !has_text || ahead.eat_text(b"# ") {
        return Ok(None);
    }
    let seconds = number(cursor, "a timestamp")?;
    if !seconds.is_finite() {
        return Err(cursor.error(format!("expected a finite timestamp, found {seconds}")));
    }
    Ok(Some(seconds_to_ms(seconds)))
}

/// Converts seconds to milliseconds and truncates fractions like Prometheus.
///
/// A value out of range becomes `i64::MIN`, as in Go on amd64.
pub(super) fn seconds_to_ms(seconds: f64) -> i64 {
    let ms = seconds * 1000.0;
    if ms.abs() < i64::MAX as f64 {
        ms as i64
    } else {
        i64::MIN
    }
}
