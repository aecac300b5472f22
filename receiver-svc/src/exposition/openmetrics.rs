//! OpenMetrics text 0.0.1 and 1.0.0.
//!
//! Stricter than the Prometheus format: one blank between two things, no blank
//! lines, and `# EOF` at the end, so that a body that was cut off is an error.
//! What Prometheus lets pass beyond the specification (names that do not belong
//! to the family, families that come twice) passes here too, as it would store
//! it.

mod created;

use super::{
    Entry, Exemplar, MetricType, ParseError, Parser, Series,
    cursor::Cursor,
    float,
    label_block::{self, Dialect, Item},
    metadata::Metadata,
    nhcb::BodyParser,
    series_text,
};
use created::Created;

/// Parses an OpenMetrics body.
#[derive(Clone, Debug)]
pub(super) struct OpenMetricsParser<'a> {
    cursor: Cursor<'a>,
    metadata: Metadata<'a>,
    /// Length of the family's name, still escaped.
    family: usize,
    /// Read `_created` samples as start timestamps of the others.
    start_timestamps: bool,
    created: Created,
    /// The sample returned last.
    sample: Sample<'a>,
    /// `# EOF` was read.
    ended: bool,
}

/// The line of a sample.
#[derive(Clone, Debug, Default)]
struct Sample<'a> {
    /// Name and labels.
    raw: &'a [u8],
    /// The name, still escaped.
    name: &'a [u8],
    timestamp: Option<i64>,
    value: f64,
    exemplar: Option<RawExemplar<'a>>,
}

/// An exemplar whose labels are still as exposed.
#[derive(Clone, Debug)]
struct RawExemplar<'a> {
    /// What stands behind the opening brace, the closing one included.
    labels: &'a [u8],
    value: f64,
    timestamp: Option<i64>,
}

/// The labels of OpenMetrics samples.
struct Labels;

/// The labels of OpenMetrics exemplars.
struct ExemplarLabels;

// === impl OpenMetricsParser ===

impl<'a> OpenMetricsParser<'a> {
    /// A parser of `body`; `type_and_unit` adds the labels `__type__` and
    /// `__unit__`.
    pub(super) fn new(body: &'a [u8], type_and_unit: bool, start_timestamps: bool) -> Self {
        Self {
            cursor: Cursor::new(body),
            metadata: Metadata::new(type_and_unit),
            family: 0,
            start_timestamps,
            created: Created::default(),
            sample: Sample::default(),
            ended: false,
        }
    }

    /// Whether the current family counts from a start.
    fn has_start(&self) -> bool {
        use MetricType::{Counter, Histogram, Summary};
        matches!(self.metadata.metric_type, Counter | Histogram | Summary)
    }

    fn metadata(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let cursor = &mut self.cursor;
        if cursor.eat_text(b"EOF") {
            cursor.eat(b'\n');
            self.ended = true;
            return match cursor.peek() {
                None => Ok(None),
                Some(_) => Err(cursor.expected("the end of the body after `# EOF`")),
            };
        }
        let read = match () {
            () if cursor.eat_text(b"HELP ") => Self::help,
            () if cursor.eat_text(b"TYPE ") => Self::metric_type,
            () if cursor.eat_text(b"UNIT ") => Self::unit,
            () => return Err(cursor.expected("HELP, TYPE, UNIT or EOF")),
        };
        let name = series_text::family_name(cursor)?;
        if !cursor.eat(b' ') {
            return Err(cursor.expected("a blank after the metric name"));
        }
        let text = cursor.take_line();
        let entry = read(self, name, text)?;
        if !self.cursor.eat(b'\n') {
            return Err(self.cursor.expected("the end of the line"));
        }
        self.family = name.len();
        Ok(Some(entry))
    }

    fn help(&mut self, name: &'a [u8], text: &'a [u8]) -> Result<Entry<'a>, ParseError> {
        if !self.cursor.is_utf8(text) {
            return Err(self.cursor.unexpected(text, "a help text of UTF-8"));
        }
        let metric = series_text::unescape(name);
        let help = series_text::unescape(text);
        Ok(Entry::Help { metric, help })
    }

    fn metric_type(&mut self, name: &'a [u8], text: &'a [u8]) -> Result<Entry<'a>, ParseError> {
        let metric_type = match text {
            b"counter" => MetricType::Counter,
            b"gauge" => MetricType::Gauge,
            b"histogram" => MetricType::Histogram,
            b"gaugehistogram" => MetricType::GaugeHistogram,
            b"summary" => MetricType::Summary,
            b"info" => MetricType::Info,
            b"stateset" => MetricType::StateSet,
            b"unknown" => MetricType::Unknown,
            other => {
                let types = "counter, gauge, histogram, gaugehistogram, summary, info, \
                             stateset or unknown";
                return Err(self.cursor.unexpected(other, types));
            }
        };
        self.metadata.metric_type = metric_type;
        let metric = series_text::unescape(name);
        Ok(Entry::Type {
            metric,
            metric_type,
        })
    }

    fn unit(&mut self, name: &'a [u8], text: &'a [u8]) -> Result<Entry<'a>, ParseError> {
        let is_suffix = name
            .strip_suffix(text)
            .is_some_and(|stem| stem.ends_with(b"_"));
        if !text.is_empty() && !is_suffix {
            return Err(self
                .cursor
                .unexpected(text, "a unit that the metric's name ends with"));
        }
        let unit = String::from_utf8_lossy(text);
        self.metadata.unit = unit.clone();
        let metric = series_text::unescape(name);
        Ok(Entry::Unit { metric, unit })
    }
}

impl<'a> BodyParser<'a> for OpenMetricsParser<'a> {
    fn advance(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        while !self.ended {
            if self.cursor.eat_text(b"# ") {
                return self.metadata();
            }
            self.sample = Sample::read(&mut self.cursor)?;
            let Sample {
                raw,
                timestamp,
                value,
                ..
            } = self.sample;
            if !(self.start_timestamps && self.has_start() && self.sample.is_created()) {
                return Ok(Some(Entry::Series(Series {
                    raw,
                    timestamp,
                    value,
                })));
            }
        }
        Ok(None)
    }
}

impl Parser for OpenMetricsParser<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        self.advance()
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        series_text::labels::<Labels>(self.sample.raw, &self.metadata, out);
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        self.sample.exemplar.take().map(RawExemplar::resolve)
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        if !(self.start_timestamps && self.has_start()) {
            return None;
        }
        let metric_type = self.metadata.metric_type;
        self.created
            .of(&self.sample, self.family, metric_type, &self.cursor)
    }
}

// === impl Sample ===

impl<'a> Sample<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, ParseError> {
        let start = cursor.at();
        if !matches!(
            cursor.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' | b'{')
        ) {
            return Err(cursor.expected("a metric name, `{` or `# EOF`"));
        }
        let name = series_text::read::<Labels>(cursor)?;
        let raw = cursor.since(start);
        let value = number(cursor, "a value")?;
        let timestamp = timestamp(cursor)?;
        let exemplar = RawExemplar::read(cursor)?;
        if !cursor.eat(b'\n') {
            return Err(cursor.expected("a timestamp, an exemplar or the end of the line"));
        }
        Ok(Self {
            raw,
            name,
            timestamp,
            value,
            exemplar,
        })
    }

    fn is_created(&self) -> bool {
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
        let value = number(cursor, "a value of the exemplar")?;
        let timestamp = timestamp(cursor)?;
        Ok(Some(Self {
            labels,
            value,
            timestamp,
        }))
    }

    fn resolve(self) -> Exemplar {
        let Self {
            labels,
            value,
            timestamp,
        } = self;
        let mut cursor = Cursor::over_series(labels);
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

// === impl Labels ===

impl Dialect for Labels {
    const BLANKS: bool = false;
    const COMMAS: bool = true;
    const NEWLINES: bool = false;
    const EXEMPLAR: bool = false;
}

// === impl ExemplarLabels ===

impl Dialect for ExemplarLabels {
    const BLANKS: bool = false;
    const COMMAS: bool = true;
    const NEWLINES: bool = false;
    const EXEMPLAR: bool = true;
}

/// Reads a blank and the number behind it.
fn number(cursor: &mut Cursor<'_>, what: &str) -> Result<f64, ParseError> {
    if !cursor.eat(b' ') {
        return Err(cursor.expected(&format!("a blank and {what}")));
    }
    let text = cursor.take_while(|byte| !matches!(byte, b' ' | b'\n'));
    if text.is_empty() {
        return Err(cursor.expected(what));
    }
    float::value(text).ok_or_else(|| cursor.unexpected(text, &format!("a number as {what}")))
}

/// Reads a timestamp in seconds, if there is one.
fn timestamp(cursor: &mut Cursor<'_>) -> Result<Option<i64>, ParseError> {
    let mut ahead = cursor.clone();
    if !ahead.eat(b' ') || ahead.eat_text(b"# {") {
        return Ok(None);
    }
    let seconds = number(cursor, "a timestamp")?;
    if !seconds.is_finite() {
        return Err(cursor.error(format!("expected a finite timestamp, found {seconds}")));
    }
    Ok(Some(seconds_to_ms(seconds)))
}

/// Milliseconds since the epoch, cut as Prometheus cuts them. What does not fit
/// becomes the smallest number, which is what its processors make of it.
fn seconds_to_ms(seconds: f64) -> i64 {
    let ms = seconds * 1000.0;
    if ms.abs() < i64::MAX as f64 {
        ms as i64
    } else {
        i64::MIN
    }
}
