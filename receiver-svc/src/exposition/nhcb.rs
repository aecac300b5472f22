//! Converts the classic histograms of a text body to native histograms with custom
//! buckets. The option `convert_classic_histograms_to_nhcb` enables it.
//!
//! A text body exposes a classic histogram as several samples. The parser collects
//! consecutive samples of one histogram. It returns the native histogram before the
//! first entry that does not belong to it. Samples that do not form a valid histogram
//! are dropped, as in Prometheus, unless `keep_classic` is set. The histogram has the
//! timestamp of its own samples; Prometheus uses that of the next sample.

use std::collections::VecDeque;

use mesh_model::labels::{BUCKET, METRIC_NAME};

use super::{
    Entry, Exemplar, Histogram, HistogramSeries, MetricType, ParseError, Parser, Series,
    classic::ClassicHistogram, float,
};

/// Parser whose entries borrow the body instead of the parser.
pub(super) trait BodyParser<'a>: Parser {
    /// Returns the next entry, like [`Parser::next`].
    fn advance(&mut self) -> Result<Option<Entry<'a>>, ParseError>;
}

/// Wraps a parser of a text format and converts its classic histograms.
#[derive(Debug)]
pub(super) struct NhcbParser<'a, P> {
    parser: P,
    keep_classic: bool,
    /// Family of the last TYPE line.
    family: String,
    metric_type: MetricType,
    sample: Sample,
    /// Histogram whose samples are being collected. `classic` has the counts.
    group: Option<Group>,
    classic: ClassicHistogram,
    /// Native histogram that was returned last, while it is the current entry.
    emitted: Option<Group>,
    /// Entry after the current histogram. The inner `None` is the end of the body.
    lookahead: Option<Option<Entry<'a>>>,
}

/// Current sample of a classic histogram's family.
#[derive(Debug, Default)]
struct Sample {
    /// Sorted labels of its histogram, including the histogram's name.
    labels: Vec<(String, String)>,
    /// Role of the sample within its histogram. `None` if it is not part of one.
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Bucket(f64),
    Count,
    Sum,
}

/// Labels, timestamps and exemplars of a collected histogram.
#[derive(Debug, Default)]
struct Group {
    labels: Vec<(String, String)>,
    timestamp: Option<i64>,
    start_timestamp: Option<i64>,
    exemplars: VecDeque<Exemplar>,
    /// Bytes that identify the series, like [`Series::raw`].
    raw: Vec<u8>,
}

// === impl NhcbParser ===

impl<'a, P: BodyParser<'a>> NhcbParser<'a, P> {
    /// Wraps `parser`. `keep_classic` returns the classic samples too.
    pub(super) fn new(parser: P, keep_classic: bool) -> Self {
        Self {
            parser,
            keep_classic,
            family: String::new(),
            metric_type: MetricType::default(),
            sample: Sample::default(),
            group: None,
            classic: ClassicHistogram::default(),
            emitted: None,
            lookahead: None,
        }
    }

    /// Returns true if `entry`, which was just read, ends the current group.
    fn ends_group(&mut self, entry: Option<&Entry<'_>>) -> bool {
        if matches!(entry, Some(Entry::Series(_))) && self.metric_type == MetricType::Histogram {
            self.sample.read(&self.parser, &self.family);
            let group = self.group.as_ref();
            return group.is_some_and(|group| group.labels != self.sample.labels);
        }
        self.sample.role = None;
        self.group.is_some()
    }

    /// Converts the current group. Returns `None` if it is not a valid histogram.
    fn finish(&mut self) -> Option<Box<Histogram>> {
        let mut group = self.group.take()?;
        let histogram = self.classic.convert().ok()?;
        for part in group.labels.iter().flat_map(|(name, value)| [name, value]) {
            // 0xff never occurs in UTF-8, so no exposed series has these bytes.
            group.raw.push(0xff);
            group.raw.extend_from_slice(part.as_bytes());
        }
        self.emitted = Some(group);
        Some(Box::new(histogram))
    }

    /// Adds the current sample, which has the given role, to its group.
    fn collect(&mut self, role: Role, series: &Series<'_>) {
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
        match role {
            Role::Bucket(upper_bound) => self.classic.bucket(upper_bound, series.value),
            Role::Count => self.classic.count(series.value),
            Role::Sum => self.classic.sum(series.value),
        }
    }
}

impl<'a, P: BodyParser<'a>> Parser for NhcbParser<'a, P> {
    fn next(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        loop {
            let lookahead = self.lookahead.take();
            self.emitted = None;
            let entry = match lookahead {
                Some(entry) => entry,
                None => {
                    let entry = self.parser.advance()?;
                    if self.ends_group(entry.as_ref())
                        && let Some(histogram) = self.finish()
                    {
                        self.lookahead = Some(entry);
                        let emitted = self.emitted.as_ref();
                        return Ok(emitted.map(|group| group.entry(histogram)));
                    }
                    entry
                }
            };
            match (&entry, self.sample.role) {
                (Some(Entry::Series(series)), Some(role)) => {
                    self.collect(role, series);
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
        match &self.emitted {
            Some(group) => out.extend_from_slice(&group.labels),
            None => self.parser.labels(out),
        }
    }

    fn exemplar(&mut self) -> Option<Exemplar> {
        match &mut self.emitted {
            Some(group) => group.exemplars.pop_front(),
            None => self.parser.exemplar(),
        }
    }

    fn start_timestamp(&mut self) -> Option<i64> {
        match self.emitted.as_ref().or(self.group.as_ref()) {
            Some(group) => group.start_timestamp,
            None => self.parser.start_timestamp(),
        }
    }
}

// === impl Sample ===

impl Sample {
    /// Reads the current sample of `parser` and its role in `family`.
    fn read(&mut self, parser: &impl Parser, family: &str) {
        self.labels.clear();
        parser.labels(&mut self.labels);
        let bounds = self.labels.extract_if(.., |(name, _)| name == BUCKET);
        let bound = bounds.fold(None, |first, (_, bound)| first.or(Some(bound)));
        self.labels.sort_unstable();
        self.role = None;
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
        self.role = match suffix {
            "_bucket" => bound
                .and_then(|bound| float::value(bound.as_bytes()))
                .filter(|bound| !bound.is_nan())
                .map(Role::Bucket),
            "_count" => Some(Role::Count),
            _ => Some(Role::Sum),
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
