//! The exposition formats: what a target's `/metrics` answers.
//!
//! One parser per format behind one interface, [`Parser`], shaped like
//! Prometheus' own `textparse.Parser`, so that its test cases apply. A parser
//! borrows the body and hands out entries that borrow it too; labels are only
//! parsed when they are asked for, which a scrape does once per series and
//! process (the scrape cache is keyed by [`Series::raw`]).

use std::borrow::Cow;

mod cursor;
mod float;
mod label_block;
pub mod negotiate;
mod series_text;
mod text;

use mesh::config::scrape::ScrapeProtocol;

pub use self::negotiate::{ContentTypeError, Format};
use self::text::TextParser;

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

/// What a scrape wants from a body, from its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Take native histograms. Without it a histogram is read as a classic one,
    /// whatever it has.
    pub native_histograms: bool,
    /// Turn classic histograms into native ones with custom buckets.
    pub classic_to_nhcb: bool,
    /// Give classic histograms also where a native one is there or was made.
    pub keep_classic: bool,
    /// Add the labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Read `_created` samples of OpenMetrics as start timestamps; without it
    /// they are series like others.
    pub start_timestamps: bool,
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

/// A native histogram, of integers or of floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// -4..=8 for exponential buckets, -53 for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Populated positive buckets.
    pub positive_spans: Vec<Span>,
    /// Populated negative buckets.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, without `+Inf`.
    pub custom_values: Vec<f64>,
    /// Whether it may go down from one scrape to the next.
    pub gauge: bool,
    /// The counts.
    pub counts: Counts,
}

/// The counts of a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// Integers; buckets as differences from the one before.
    Integer {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero_count: u64,
        /// Differences, over the positive spans.
        positive_deltas: Vec<i64>,
        /// Differences, over the negative spans.
        negative_deltas: Vec<i64>,
    },
    /// Floats; buckets as they are.
    Float {
        /// All observations.
        count: f64,
        /// Those in the zero bucket.
        zero_count: f64,
        /// Counts, over the positive spans.
        positive: Vec<f64>,
        /// Counts, over the negative spans.
        negative: Vec<f64>,
    },
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous span, or the first bucket's index.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
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
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line of a text body, number of the family of a protobuf body; from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// The parser of a body, whatever its format is.
#[derive(Debug)]
pub struct AnyParser<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    Text(TextParser<'a>),
}

/// A parser of `body` by its `Content-Type`, or by `fallback` where the target
/// sent none that Prometheus knows.
///
/// # Errors
/// Where neither names a format; the scrape fails then.
pub fn parser<'a>(
    content_type: Option<&str>,
    fallback: Option<ScrapeProtocol>,
    options: &ParserOptions,
    body: &'a [u8],
) -> Result<AnyParser<'a>, ContentTypeError> {
    let format = Format::of(content_type, fallback)?;
    Ok(AnyParser::new(format, options, body))
}

/// A parse under way.
pub trait Parser {
    /// The next entry, or `None` at the end of the body.
    ///
    /// # Errors
    /// Where the body is not of the format; the parse is over then.
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError>;

    /// Adds the labels of the series that [`Parser::next`] returned last,
    /// `__name__` included, `le` and `quantile` in Prometheus 3's canonical form.
    /// Duplicate names are kept, so that the caller can refuse them.
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

// === impl AnyParser ===

impl<'a> AnyParser<'a> {
    /// A parser of `body`, which is of `format`.
    pub fn new(_format: Format, options: &ParserOptions, body: &'a [u8]) -> Self {
        Self(Inner::Text(TextParser::new(
            body,
            options.type_and_unit_labels,
        )))
    }
}

impl Parser for AnyParser<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        match &mut self.0 {
            Inner::Text(parser) => parser.next(),
        }
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        match &self.0 {
            Inner::Text(parser) => parser.labels(out),
        }
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        match &mut self.0 {
            Inner::Text(parser) => parser.exemplar(),
        }
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        match &mut self.0 {
            Inner::Text(parser) => parser.start_timestamp(),
        }
    }
}
