//! Turns the classic histograms of a text body into native ones with custom
//! buckets, as `convert_classic_histograms_to_nhcb` asks for.
//!
//! A text body gives a classic histogram sample by sample. The samples of one
//! histogram are collected while they follow each other, and the native one is
//! given before the first entry that does not belong to it. Samples that do not
//! make a histogram are gone then, as in Prometheus, unless classic histograms
//! are kept. A timestamp is the histogram's own, where Prometheus takes that of
//! the sample behind it.

use std::collections::VecDeque;

use mesh::labels::{BUCKET, METRIC_NAME};

use super::{
    Entry, Exemplar, Histogram, HistogramSeries, MetricType, ParseError, Parser, Series,
    classic::ClassicHistogram, float,
};

/// A parser whose entries borrow the body, not the parser.
pub(super) trait BodyParser<'a>: Parser {
    /// As [`Parser::next`].
    fn advance(&mut self) -> Result<Option<Entry<'a>>, ParseError>;
}

/// Wraps a text parser.
#[derive(Debug)]
pub(super) struct NhcbParser<'a, P> {
    parser: P,
    keep_classic: bool,
    /// Of the last TYPE line.
    family: String,
    metric_type: MetricType,
    sample: Sample,
    /// The histogram that is being collected, and its counts.
    group: Option<Group>,
    classic: ClassicHistogram,
    /// The histogram that was given, while it is the current entry.
    given: Option<Group>,
    /// The entry behind it, or the end of the body.
    held: Option<Option<Entry<'a>>>,
}

/// The current sample, while it is of a classic histogram's family.
#[derive(Debug, Default)]
struct Sample {
    /// The labels of its histogram, sorted, the histogram's name among them.
    labels: Vec<(String, String)>,
    /// What it says about the histogram, if anything.
    part: Option<Part>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// What belongs to a histogram besides its counts.
#[derive(Debug, Default)]
struct Group {
    labels: Vec<(String, String)>,
    timestamp: Option<i64>,
    start_timestamp: Option<i64>,
    exemplars: VecDeque<Exemplar>,
    /// Stands for the series as [`Series::raw`] does.
    raw: Vec<u8>,
}

// === impl NhcbParser ===

impl<'a, P: BodyParser<'a>> NhcbParser<'a, P> {
    /// Wraps `parser`; `keep_classic` gives the classic samples too.
    pub(super) fn new(parser: P, keep_classic: bool) -> Self {
        Self {
            parser,
            keep_classic,
            family: String::new(),
            metric_type: MetricType::default(),
            sample: Sample::default(),
            group: None,
            classic: ClassicHistogram::default(),
            given: None,
            held: None,
        }
    }

    /// Whether `entry`, which was just read, ends the current group.
    fn ends_group(&mut self, entry: Option<&Entry<'_>>) -> bool {
        if matches!(entry, Some(Entry::Series(_))) && self.metric_type == MetricType::Histogram {
            self.sample.read(&self.parser, &self.family);
            let group = self.group.as_ref();
            return group.is_some_and(|group| group.labels != self.sample.labels);
        }
        self.sample.part = None;
        self.group.is_some()
    }

    /// The histogram of the current group, if it makes one.
    fn finish(&mut self) -> Option<Box<Histogram>> {
        let mut group = self.group.take()?;
        let histogram = self.classic.convert().ok()?;
        for part in group.labels.iter().flat_map(|(name, value)| [name, value]) {
            // Never a byte of UTF-8, so that this is no text of another series.
            group.raw.push(0xff);
            group.raw.extend_from_slice(part.as_bytes());
        }
        self.given = Some(group);
        Some(Box::new(histogram))
    }

    /// Adds the current sample, which says `part`, to its group.
    fn collect(&mut self, part: Part, series: &Series<'_>) {
        let group = self.group.get_or_insert_with(|| {
            self.classic.clear();
            Group {
                labels: self.sample.labels.clone(),
                start_timestamp: self.parser.start_timestamp(),
                ..Group::default()
            }
        });
        group.timestamp = series.timestamp;
        while let Some(exemplar) = self.parser.exemplar() {
            group.exemplars.push_back(exemplar);
        }
        match part {
            Part::Bucket(upper_bound) => self.classic.bucket(upper_bound, series.value),
            Part::Count => self.classic.count(series.value),
            Part::Sum => self.classic.sum(series.value),
        }
    }
}

impl<'a, P: BodyParser<'a>> Parser for NhcbParser<'a, P> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        loop {
            let held = self.held.take();
            self.given = None;
            let entry = match held {
                Some(entry) => entry,
                None => {
                    let entry = self.parser.advance()?;
                    if self.ends_group(entry.as_ref())
                        && let Some(histogram) = self.finish()
                    {
                        self.held = Some(entry);
                        let given = self.given.as_ref();
                        return Ok(given.map(|group| group.entry(histogram)));
                    }
                    entry
                }
            };
            match (&entry, self.sample.part) {
                (Some(Entry::Series(series)), Some(part)) => {
                    self.collect(part, series);
                    if !self.keep_classic {
                        continue;
                    }
                }
                (
                    Some(Entry::Type {
                        metric,
                        metric_type,
                    }),
                    _,
                ) => {
                    self.family.clear();
                    self.family.push_str(metric);
                    self.metric_type = *metric_type;
                }
                _ => {}
            }
            return Ok(entry);
        }
    }

    fn labels(&self, out: &mut Vec<(String, String)>) {
        match &self.given {
            Some(group) => out.extend_from_slice(&group.labels),
            None => self.parser.labels(out),
        }
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        match &mut self.given {
            Some(group) => group.exemplars.pop_front(),
            None => self.parser.exemplar(),
        }
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        match self.given.as_ref().or(self.group.as_ref()) {
            Some(group) => group.start_timestamp,
            None => self.parser.start_timestamp(),
        }
    }
}

// === impl Sample ===

impl Sample {
    /// Reads the current sample of `parser`, which is of `family`.
    fn read(&mut self, parser: &impl Parser, family: &str) {
        self.labels.clear();
        parser.labels(&mut self.labels);
        let bounds = self.labels.extract_if(.., |(name, _)| name == BUCKET);
        let bound = bounds.fold(None, |first, (_, bound)| first.or(Some(bound)));
        self.labels.sort_unstable();
        self.part = None;
        let Some((_, name)) = self.labels.iter_mut().find(|(name, _)| name == METRIC_NAME) else {
            return;
        };
        let suffixes = ["_bucket", "_count", "_sum"];
        let Some(suffix) = suffixes.into_iter().find(|suffix| name.ends_with(suffix)) else {
            return;
        };
        name.truncate(name.len() - suffix.len());
        if name != family {
            return;
        }
        self.part = match suffix {
            "_bucket" => bound
                .and_then(|bound| float::value(bound.as_bytes()))
                .filter(|bound| !bound.is_nan())
                .map(Part::Bucket),
            "_count" => Some(Part::Count),
            _ => Some(Part::Sum),
        };
    }
}

// === impl Group ===

impl Group {
    fn entry(&self, histogram: Box<Histogram>) -> Entry<'_> {
        let (raw, timestamp) = (&self.raw, self.timestamp);
        Entry::Histogram(HistogramSeries {
            raw,
            timestamp,
            histogram,
        })
    }
}

#[cfg(test)]
mod tests;
