//! Selects the parser for the body of a scrape.

use super::{
    Entry, Exemplar, Format, ParseError, Parser, nhcb::NhcbParser, openmetrics::OpenMetricsParser,
    protobuf::ProtobufParser, text::TextParser,
};

/// Parser options of a scrape, from its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Parse native histograms. Otherwise the parser returns classic histograms only.
    pub native_histograms: bool,
    /// Convert classic histograms to native histograms with custom buckets.
    pub classic_to_nhcb: bool,
    /// Return classic histograms in addition to exposed or converted native ones.
    pub keep_classic: bool,
    /// Add the labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Parse `_created` samples of OpenMetrics as start timestamps. Otherwise they are
    /// ordinary series.
    pub start_timestamps: bool,
}

/// Parser of a body in any exposition format.
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

/// Evaluates an expression with the inner parser, whatever its format.
macro_rules! dispatch {
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
    /// Creates a parser of `body`, which has the given format.
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
        dispatch!(&mut self.0, parser => parser.next())
    }

    fn next_expecting(&mut self, expected: &[u8]) -> Result<Option<Entry<'_>>, ParseError> {
        dispatch!(&mut self.0, parser => parser.next_expecting(expected))
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        dispatch!(&self.0, parser => parser.labels(out));
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        dispatch!(&mut self.0, parser => parser.exemplar())
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        dispatch!(&mut self.0, parser => parser.start_timestamp())
    }
}

#[cfg(test)]
mod tests;
