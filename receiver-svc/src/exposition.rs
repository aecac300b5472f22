//! Parses the exposition formats, the response body of a target's `/metrics`.
//!
//! Each format has a parser that implements [`Parser`]. The trait resembles
//! Prometheus' `textparse.Parser`, so that Prometheus' test cases apply. A parser
//! borrows the body, and so do the entries that it returns. It parses labels on
//! demand only. A scrape asks for them once per series, because the scrape cache
//! is keyed by [`Series::raw`].

use std::{borrow::Cow, fmt};

mod any;
mod classic;
mod cursor;
mod float;
mod histogram;
mod label_block;
mod metadata;
pub mod negotiate;
mod nhcb;
mod openmetrics;
mod protobuf;
mod series_text;
#[cfg(test)]
mod testing;
mod text;

pub use self::{
    any::{AnyParser, ParserOptions},
    histogram::{Counts, Histogram, Span},
    negotiate::{ContentTypeError, Format},
};
pub(crate) use self::{classic::CUSTOM_BUCKETS, histogram::indexes};

/// Type of a metric family, from its `# TYPE` line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// `counter`.
    Counter,
    /// `gauge`.
    Gauge,
    /// `histogram`.
    Histogram,
    /// `gaugehistogram`.
    GaugeHistogram,
    /// `summary`.
    Summary,
    /// `info`.
    Info,
    /// `stateset`.
    StateSet,
    /// `unknown`, `untyped`, or no `# TYPE` line.
    #[default]
    Unknown,
}

/// One line of a text body, or its equivalent in a protobuf body.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP`, unescaped.
    Help {
        /// Name of the metric family.
        metric: Cow<'a, str>,
        /// Help text of the family.
        help: Cow<'a, str>,
    },
    /// `# TYPE`.
    Type {
        /// Name of the metric family.
        metric: Cow<'a, str>,
        /// Type of the family.
        metric_type: MetricType,
    },
    /// `# UNIT`.
    Unit {
        /// Name of the metric family.
        metric: Cow<'a, str>,
        /// Unit of the family.
        unit: Cow<'a, str>,
    },
    /// Any other comment, without the newline.
    Comment(&'a [u8]),
    /// A float sample.
    Series(Series<'a>),
    /// A native histogram sample.
    Histogram(HistogramSeries<'a>),
}

/// A float sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Bytes that identify the series within its target: equal bytes mean the same
    /// name and labels. The text formats use the exposed text.
    pub raw: &'a [u8],
    /// Milliseconds since the Unix epoch, if the target exposed a timestamp.
    pub timestamp: Option<i64>,
    /// Value of the sample.
    pub value: f64,
}

/// A native histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSeries<'a> {
    /// Bytes that identify the series, like [`Series::raw`].
    pub raw: &'a [u8],
    /// Milliseconds since the Unix epoch, if the target exposed a timestamp.
    pub timestamp: Option<i64>,
    /// Value of the sample.
    pub histogram: Box<Histogram>,
}

/// An exemplar of a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// Labels, unescaped and in the order of the body.
    pub labels: Vec<(String, String)>,
    /// Value of the exemplar.
    pub value: f64,
    /// Milliseconds since the Unix epoch, if the target exposed a timestamp.
    pub timestamp: Option<i64>,
}

/// The body violates its format. The whole scrape fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ParseError {
    /// Position of the error in the body.
    pub place: Place,
    /// Expected and found text at that position.
    pub message: String,
}

/// Position in a body, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line of a text body.
    Line(usize),
    /// Metric family of a protobuf body.
    Family(usize),
}

/// Iterates over the entries of a body.
pub trait Parser {
    /// Returns the next entry, or `None` at the end of the body.
    ///
    /// # Errors
    /// Returns an error if the body violates the format. The parser cannot continue.
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError>;

    /// Returns the next entry like [`Parser::next`], faster if it is the series `expected`.
    ///
    /// `expected` is the [`raw`](Series::raw) text of a series that a parser with the same
    /// format and options has returned, or empty.
    ///
    /// # Errors
    /// Returns an error if the body violates the format. The parser cannot continue.
    fn next_expecting(&mut self, expected: &[u8]) -> Result<Option<Entry<'_>>, ParseError> {
        let _ = expected;
        self.next()
    }

    /// Adds the labels of the series that [`Parser::next`] returned last.
    ///
    /// `__name__` comes first, the others follow in the order of the body. `le` and
    /// `quantile` have the canonical form of Prometheus 3. Includes duplicate names, so
    /// that the caller can reject them, and empty values.
    fn labels(&self, out: &mut Vec<(String, String)>);

    /// Returns the next exemplar of the current series, or `None` after the last one.
    fn exemplar(&mut self) -> Option<Exemplar>;

    /// Returns the start timestamp of the current series in milliseconds since the Unix
    /// epoch, if the target exposed one.
    fn start_timestamp(&mut self) -> Option<i64>;
}

// === impl MetricType ===

impl MetricType {
    /// Name of the type in OpenMetrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Family(family) => write!(f, "metric family {family}"),
        }
    }
}
