//! The exposition formats: what a target's `/metrics` answers.
//!
//! One parser per format behind one interface, [`Parser`], shaped like
//! Prometheus' own `textparse.Parser`, so that its test cases apply. A parser
//! borrows the body and hands out entries that borrow it too; labels are only
//! parsed when they are asked for, which a scrape does once per series and
//! process (the scrape cache is keyed by [`Series::raw`]).

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
    any::{AnyParser, ParserOptions, parser},
    histogram::{Counts, Histogram, Span},
    negotiate::{ContentTypeError, Format},
};

/// What a family's `# TYPE` line says.
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
    /// `unknown`, `untyped`, or not said.
    #[default]
    Unknown,
}

/// One step of a parse.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP`, unescaped.
    Help {
        /// The family.
        metric: Cow<'a, str>,
        /// Its text.
        help: Cow<'a, str>,
    },
    /// `# TYPE`.
    Type {
        /// The family.
        metric: Cow<'a, str>,
        /// Its type.
        metric_type: MetricType,
    },
    /// `# UNIT`.
    Unit {
        /// The family.
        metric: Cow<'a, str>,
        /// Its unit.
        unit: Cow<'a, str>,
    },
    /// Any other comment, without the newline.
    Comment(&'a [u8]),
    /// A float sample.
    Series(Series<'a>),
    /// A native histogram.
    Histogram(HistogramSeries<'a>),
}

/// A float sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Name and labels as bytes: two samples of one target with equal bytes are
    /// of one series. For the text formats it is the text as exposed.
    pub raw: &'a [u8],
    /// Milliseconds since the Unix epoch, where the target gave a time.
    pub timestamp: Option<i64>,
    /// The value.
    pub value: f64,
}

/// A native histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSeries<'a> {
    /// As [`Series::raw`].
    pub raw: &'a [u8],
    /// As [`Series::timestamp`].
    pub timestamp: Option<i64>,
    /// The value.
    pub histogram: Box<Histogram>,
}

/// An exemplar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// Its labels, as exposed.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
    /// Milliseconds since the Unix epoch, where the target gave a time.
    pub timestamp: Option<i64>,
}

/// A body that is not of its format. It fails the whole scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ParseError {
    /// Where in the body.
    pub place: Place,
    /// What was expected there and what was found.
    pub message: String,
}

/// A place in a body, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text body.
    Line(usize),
    /// A metric family of a protobuf body.
    Family(usize),
}

/// A parse under way.
pub trait Parser {
    /// The next entry, or `None` at the end of the body.
    ///
    /// # Errors
    /// Where the body is not of the format; the parse is over then.
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError>;

    /// Adds the labels of the series that [`Parser::next`] returned last in the
    /// order of the body, `__name__` first, `le` and `quantile` in Prometheus 3's
    /// canonical form. Duplicate names are kept, so that the caller can refuse
    /// them, and so are empty values.
    fn labels(&self, out: &mut Vec<(String, String)>);

    /// The next exemplar of that series, `None` when there are no more.
    fn exemplar(&mut self) -> Option<Exemplar>;

    /// When that series started to count, in milliseconds since the Unix epoch,
    /// where the format says so.
    fn start_timestamp(&mut self) -> Option<i64>;
}

// === impl MetricType ===

impl MetricType {
    /// The word for it in OpenMetrics.
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
