//! The parser of a scrape's body, whatever its format is.

use mesh::config::scrape::ScrapeProtocol;

use super::{
    ContentTypeError, Entry, Exemplar, Format, ParseError, Parser, nhcb::NhcbParser,
    openmetrics::OpenMetricsParser, protobuf::ProtobufParser, text::TextParser,
};

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

/// The parser of a body, whatever its format is.
#[derive(Debug)]
pub struct AnyParser<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    Text(TextParser<'a>),
    OpenMetrics(OpenMetricsParser<'a>),
    Protobuf(ProtobufParser<'a>),
    TextToNhcb(NhcbParser<'a, TextParser<'a>>),
    OpenMetricsToNhcb(NhcbParser<'a, OpenMetricsParser<'a>>),
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

/// Does the same with the parser of any format.
macro_rules! each {
    ($inner:expr, $parser:ident => $result:expr) => {
        match $inner {
            Inner::Text($parser) => $result,
            Inner::OpenMetrics($parser) => $result,
            Inner::Protobuf($parser) => $result,
            Inner::TextToNhcb($parser) => $result,
            Inner::OpenMetricsToNhcb($parser) => $result,
        }
    };
}

// === impl AnyParser ===

impl<'a> AnyParser<'a> {
    /// A parser of `body`, which is of `format`.
    pub fn new(format: Format, options: &ParserOptions, body: &'a [u8]) -> Self {
        let type_and_unit = options.type_and_unit_labels;
        let text = || TextParser::new(body, type_and_unit);
        let openmetrics = || OpenMetricsParser::new(body, type_and_unit, options.start_timestamps);
        Self(match (format, options.classic_to_nhcb) {
            (Format::Text, false) => Inner::Text(text()),
            (Format::Text, true) => {
                Inner::TextToNhcb(NhcbParser::new(text(), options.keep_classic))
            }
            (Format::OpenMetrics, false) => Inner::OpenMetrics(openmetrics()),
            (Format::OpenMetrics, true) => {
                Inner::OpenMetricsToNhcb(NhcbParser::new(openmetrics(), options.keep_classic))
            }
            (Format::Protobuf, _) => Inner::Protobuf(ProtobufParser::new(body, *options)),
        })
    }
}

impl Parser for AnyParser<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        each!(&mut self.0, parser => parser.next())
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        each!(&self.0, parser => parser.labels(out));
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        each!(&mut self.0, parser => parser.exemplar())
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        each!(&mut self.0, parser => parser.start_timestamp())
    }
}
