//! Parses OpenMetrics text 0.0.1 and 1.0.0.
//!
//! The format is stricter than the Prometheus text format: one space between tokens,
//! no empty lines, and `# EOF` at the end, so that a truncated body is an error.
//! Prometheus accepts some bodies that violate the specification, such as samples
//! outside their family and repeated families. This parser accepts them too. Unlike
//! Prometheus, it also unescapes the labels of exemplars.

mod created;
mod sample;

use self::{
    created::CreatedTimestamps,
    sample::{RawExemplar, Sample, SampleLabels},
};
use super::{
    Entry, Exemplar, MetricType, ParseError, Parser, Series, cursor::Cursor,
    metadata::FamilyMetadata, nhcb::BodyParser, series_text,
};

/// Parses an OpenMetrics body.
#[derive(Clone, Debug)]
pub(super) struct OpenMetricsParser<'a> {
    cursor: Cursor<'a>,
    metadata: FamilyMetadata<'a>,
    /// Length of the escaped name of the current family.
    family: usize,
    /// Parse `_created` samples as start timestamps of the other samples.
    start_timestamps: bool,
    created: CreatedTimestamps,
    /// Sample that was returned last.
    sample: Sample<'a>,
    /// Set after `# EOF`.
    ended: bool,
}

// === impl OpenMetricsParser ===

impl<'a> OpenMetricsParser<'a> {
    /// Creates a parser of `body`. `type_and_unit` adds the labels `__type__` and
    /// `__unit__`.
    pub(super) fn new(body: &'a [u8], type_and_unit: bool, start_timestamps: bool) -> Self {
        Self {
            cursor: Cursor::new(body),
            metadata: FamilyMetadata::new(type_and_unit),
            family: 0,
            start_timestamps,
            created: CreatedTimestamps::default(),
            sample: Sample::default(),
            ended: false,
        }
    }

    /// Returns true if samples of the current family can have a start timestamp.
    fn has_start(&self) -> bool {
        use MetricType::{Counter, Histogram, Summary};
        matches!(self.metadata.metric_type, Counter | Histogram | Summary)
    }

    fn metadata_line(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let cursor = &mut self.cursor;
        if cursor.eat_keyword(b"EOF") {
            if cursor.eat(b'\n') {
                cursor.skip_nulls();
            }
            self.ended = true;
            return match cursor.peek() {
                None => Ok(None),
                Some(_) => Err(cursor.expected("the end of the body after `# EOF`")),
            };
        }
        let read = match () {
            () if cursor.eat_keyword(b"HELP ") => Self::help,
            () if cursor.eat_keyword(b"TYPE ") => Self::metric_type,
            () if cursor.eat_keyword(b"UNIT ") => Self::unit,
            () => return Err(cursor.expected("HELP, TYPE, UNIT or EOF")),
        };
        let name = series_text::family_name(cursor)?;
        if !cursor.eat(b' ') {
            return Err(cursor.expected("a space after the metric name"));
        }
        let start = cursor.at();
        let mut next_line = cursor.clone();
        next_line.take_line();
        if !next_line.eat(b'\n') {
            return Err(next_line.expected("the end of the line"));
        }
        // As in Prometheus, null bytes at the start of the next line belong to this one. The
        // last byte is not part of the text.
        next_line.skip_nulls();
        let text = next_line.since(start);
        let entry = read(self, name, &text[..text.len() - 1])?;
        self.cursor = next_line;
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

    /// Reads the next entry. `expected` is the text of the series that probably follows.
    fn entry(&mut self, expected: &[u8]) -> Result<Option<Entry<'a>>, ParseError> {
        while !self.ended {
            if self.sample.is_incomplete {
                return Err(self.cursor.expected(sample::END_OF_LINE));
            }
            if self.cursor.eat_text(b"# ") {
                return self.metadata_line();
            }
            self.sample = Sample::read(&mut self.cursor, expected)?;
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

impl<'a> BodyParser<'a> for OpenMetricsParser<'a> {
    fn advance(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        self.entry(b"")
    }
}

impl Parser for OpenMetricsParser<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        self.entry(b"")
    }

    fn next_expecting(&mut self, expected: &[u8]) -> Result<Option<Entry<'_>>, ParseError> {
        self.entry(expected)
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        series_text::labels::<SampleLabels>(self.sample.raw, &self.metadata, out);
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
            .start_of(&self.sample, self.family, metric_type, &self.cursor)
    }
}

#[cfg(test)]
mod tests;
