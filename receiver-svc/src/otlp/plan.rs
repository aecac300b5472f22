//! What will be written, and how long it will be.

use std::ops::Range;

use mesh::wire;

use super::{
    classic,
    grouping::{self, Fate, Group, Member},
    metric::{self, DATA_POINTS, Kind},
    native, number, summary,
};
use crate::{
    exposition::MetricType,
    scrape::{
        Appended,
        sample::{Sample, SampleValue},
    },
};

/// All metrics of one round of a scrape.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    appended: &'a Appended<'a>,
    runs: Vec<Run>,
    points: Vec<Point>,
    /// Points that had to be written to know their length.
    written: Vec<u8>,
}

/// Points of one metric, one behind the other in the scrape.
#[derive(Debug)]
pub(super) struct Run {
    kind: Kind,
    /// The name's number in the cache.
    name: u32,
    family: Option<u32>,
    points: Range<usize>,
    /// Bytes of all points, with their keys and lengths.
    len: usize,
    /// Samples in all points.
    pub(super) samples: u64,
}

#[derive(Debug)]
enum Point {
    /// The point of a sample, yet to be written.
    Simple(u32),
    /// A point in [`Plan::written`].
    Written(Range<usize>),
}

// === impl Plan ===

impl<'a> Plan<'a> {
    /// Plans the samples of `round`; runs are cut at `max_bytes`.
    pub(super) fn new(appended: &'a Appended<'a>, round: u32, max_bytes: usize) -> Self {
        let (members, fates) = grouping::fates(appended, round);
        let mut plan = Self {
            appended,
            runs: Vec::new(),
            points: Vec::with_capacity(fates.len()),
            written: Vec::new(),
        };
        for (number, (sample, fate)) in (0_u32..).zip(appended.samples.iter().zip(fates)) {
            match fate {
                Fate::Alone => plan.single(number, sample, max_bytes),
                Fate::First(start, end) => plan.group(&members[start..end], max_bytes),
                Fate::Written => {}
            }
        }
        plan
    }

    /// The runs, in parts of at most about `max_bytes` each.
    pub(super) fn parts(&self, max_bytes: usize) -> impl Iterator<Item = &[Run]> {
        let mut rest = self.runs.as_slice();
        std::iter::from_fn(move || {
            let mut len = 0;
            let fits = |run: &&Run| {
                let first = len == 0;
                len += run.len;
                first || len <= max_bytes
            };
            let end = rest.iter().take_while(fits).count();
            let part;
            (part, rest) = rest.split_at(end);
            (!part.is_empty()).then_some(part)
        })
    }

    /// How long the `Metric` of a run is.
    pub(super) fn metric_len(&self, run: &Run) -> usize {
        let series = &self.appended.cache.series;
        let metadata = self.appended.metadata(run.family);
        metric::len(run.kind, series.name_text(run.name), metadata, run.len)
    }

    /// Writes the `Metric` of a run.
    pub(super) fn put_metric(&self, run: &Run, out: &mut Vec<u8>) {
        let name = self.appended.cache.series.name_text(run.name);
        let metadata = self.appended.metadata(run.family);
        metric::put(run.kind, name, metadata, run.len, out, |out| {
            for point in &self.points[run.points.clone()] {
                self.put_point(point, out);
            }
        });
    }

    fn put_point(&self, point: &Point, out: &mut Vec<u8>) {
        match point {
            Point::Written(range) => {
                wire::put_bytes(DATA_POINTS, &self.written[range.clone()], out);
            }
            Point::Simple(number) => {
                let sample = &self.appended.samples[*number as usize];
                let attributes = self.appended.cache.series.attributes_of(sample.series);
                wire::put_header(DATA_POINTS, number::simple_len(attributes, sample), out);
                number::put(attributes, sample, &[], out);
            }
        }
    }

    fn single(&mut self, number: u32, sample: &Sample, max_bytes: usize) {
        let series = &self.appended.cache.series;
        let attributes = series.attributes_of(sample.series);
        let kind = self.kind(sample);
        let name = series.name(sample.series);
        if number::is_simple(sample) {
            let len = number::simple_len(attributes, sample);
            let run = Run::begin(kind, name, sample.family);
            self.add(run, Point::Simple(number), len, 1, max_bytes);
            return;
        }
        let start = self.written.len();
        let exemplars = self.appended.exemplars_of(sample);
        match &sample.value {
            SampleValue::Histogram(histogram) => {
                native::put(attributes, sample, histogram, exemplars, &mut self.written);
            }
            _ => number::put(attributes, sample, exemplars, &mut self.written),
        }
        let run = Run::begin(kind, name, sample.family);
        self.add_written(run, start, 1, max_bytes);
    }

    fn kind(&self, sample: &Sample) -> Kind {
        let SampleValue::Histogram(histogram) = &sample.value else {
            return Kind::of_numbers(self.appended.metric_type(sample));
        };
        match native::form(histogram) {
            native::Form::Exponential => Kind::Exponential,
            native::Form::CustomBuckets => Kind::CustomBuckets,
            native::Form::Attribute => Kind::Gauge,
        }
    }

    fn group(&mut self, members: &[Member], max_bytes: usize) {
        let group = Group::new(self.appended, members);
        let start = self.written.len();
        let kind = match group.metric_type() {
            Some(MetricType::Summary) => {
                summary::put(group, &mut self.written);
                Kind::Summary
            }
            _ => {
                classic::put(group, &mut self.written);
                Kind::Histogram
            }
        };
        let run = Run::begin(kind, group.name(), group.first().family);
        self.add_written(run, start, group.len() as u64, max_bytes);
    }

    fn add_written(&mut self, run: Run, start: usize, samples: u64, max_bytes: usize) {
        let point = start..self.written.len();
        let len = point.len();
        self.add(run, Point::Written(point), len, samples, max_bytes);
    }

    /// Adds a point to the run before where that is of the same metric, and else
    /// to `run`.
    fn add(&mut self, mut run: Run, point: Point, len: usize, samples: u64, max_bytes: usize) {
        let len = wire::bytes_len(DATA_POINTS, len);
        let joins = |last: &Run| last.is_like(&run) && last.len + len <= max_bytes;
        let at = self.points.len();
        if !self.runs.last().is_some_and(joins) {
            run.points = at..at;
            self.runs.push(run);
        }
        self.points.push(point);
        if let Some(last) = self.runs.last_mut() {
            last.points.end = at + 1;
            last.len += len;
            last.samples += samples;
        }
    }
}

// === impl Run ===

impl Run {
    fn begin(kind: Kind, name: u32, family: Option<u32>) -> Self {
        Self {
            kind,
            name,
            family,
            points: 0..0,
            len: 0,
            samples: 0,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.name, self.family) == (other.kind, other.name, other.family)
    }
}
