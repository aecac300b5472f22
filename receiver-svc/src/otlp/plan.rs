//! Plans the metrics of a scrape and their encoded lengths.

use std::ops::Range;

use mesh_wire::protobuf;

use super::{
    classic,
    group::{Group, GroupMember},
    grouping::{self, Emission},
    metric::{self, DATA_POINTS, MetricKind},
    native, number, summary,
};
use crate::{
    exposition::MetricType,
    samples::{AppendedSamples, Sample, SampleValue},
};

/// All metrics of one round of a scrape.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    appended: &'a AppendedSamples<'a>,
    runs: Vec<MetricRun>,
    points: Vec<Point>,
    /// Data points that had to be encoded to know their length.
    encoded: Vec<u8>,
}

/// Data points of one metric that follow each other in the scrape.
#[derive(Debug)]
pub(super) struct MetricRun {
    kind: MetricKind,
    /// ID of the metric name in the scrape cache.
    name: u32,
    family: Option<u32>,
    points: Range<usize>,
    /// Length of all points in bytes, including their keys and length prefixes.
    len: usize,
    /// Number of samples in all points.
    pub(super) samples: u64,
}

#[derive(Debug)]
enum Point {
    /// Index of a sample whose point is not encoded yet.
    Deferred(u32),
    /// Range of a point within [`Plan::encoded`].
    Encoded(Range<usize>),
}

// === impl Plan ===

impl<'a> Plan<'a> {
    /// Plans the samples of `round`. A run is split at `max_bytes`.
    pub(super) fn new(appended: &'a AppendedSamples<'a>, round: u32, max_bytes: usize) -> Self {
        let (members, emissions) = grouping::emissions(appended, round);
        let mut plan = Self {
            appended,
            runs: Vec::new(),
            points: Vec::with_capacity(emissions.len()),
            encoded: Vec::new(),
        };
        for (number, (sample, emission)) in (0_u32..).zip(appended.samples.iter().zip(emissions)) {
            match emission {
                Emission::Single => plan.add_sample(number, sample, max_bytes),
                Emission::Group { start, end } => plan.add_group(&members[start..end], max_bytes),
                Emission::Skip => {}
            }
        }
        plan
    }

    /// Splits the runs into parts of about `max_bytes` at most.
    pub(super) fn parts(&self, max_bytes: usize) -> impl Iterator<Item = &[MetricRun]> {
        let mut rest = self.runs.as_slice();
        std::iter::from_fn(move || {
            let mut len = 0;
            let fits = |run: &&MetricRun| {
                let first = len == 0;
                len += self.metric_len(run);
                first || len <= max_bytes
            };
            let end = rest.iter().take_while(fits).count();
            let part;
            (part, rest) = rest.split_at(end);
            (!part.is_empty()).then_some(part)
        })
    }

    /// Length of the `Metric` of a run in bytes.
    pub(super) fn metric_len(&self, run: &MetricRun) -> usize {
        let series = self.appended.series;
        let metadata = self.appended.metadata(run.family);
        metric::len(run.kind, series.name_by_id(run.name), metadata, run.len)
    }

    /// Writes the `Metric` of a run.
    pub(super) fn put_metric(&self, run: &MetricRun, out: &mut Vec<u8>) {
        let name = self.appended.series.name_by_id(run.name);
        let metadata = self.appended.metadata(run.family);
        metric::put(run.kind, name, metadata, run.len, out, |out| {
            for point in &self.points[run.points.clone()] {
                self.put_point(point, out);
            }
        });
    }

    fn put_point(&self, point: &Point, out: &mut Vec<u8>) {
        match point {
            Point::Encoded(range) => {
                protobuf::put_bytes(DATA_POINTS, &self.encoded[range.clone()], out);
            }
            Point::Deferred(number) => {
                let sample = &self.appended.samples[*number as usize];
                let attributes = self.appended.series.attributes_of(sample.series);
                protobuf::put_header(DATA_POINTS, number::fixed_len(attributes, sample), out);
                number::put(attributes, sample, &[], out);
            }
        }
    }

    fn add_sample(&mut self, number: u32, sample: &Sample, max_bytes: usize) {
        let series = self.appended.series;
        let attributes = series.attributes_of(sample.series);
        let kind = self.kind(sample);
        let name = series.name_id(sample.series);
        if number::has_fixed_len(sample) {
            let len = number::fixed_len(attributes, sample);
            let run = MetricRun::begin(kind, name, sample.family);
            self.add_point(run, Point::Deferred(number), len, 1, max_bytes);
            return;
        }
        let start = self.encoded.len();
        let exemplars = self.appended.exemplars_of(sample);
        match &sample.value {
            SampleValue::Histogram(histogram) => {
                native::put(attributes, sample, histogram, exemplars, &mut self.encoded);
            }
            _ => number::put(attributes, sample, exemplars, &mut self.encoded),
        }
        let run = MetricRun::begin(kind, name, sample.family);
        self.add_encoded(run, start, 1, max_bytes);
    }

    fn kind(&self, sample: &Sample) -> MetricKind {
        let SampleValue::Histogram(histogram) = &sample.value else {
            return MetricKind::for_numbers(self.appended.metric_type(sample));
        };
        match native::representation(histogram) {
            native::Representation::Exponential => MetricKind::Exponential,
            native::Representation::CustomBuckets => MetricKind::CustomBuckets,
            native::Representation::Attribute => MetricKind::Gauge,
        }
    }

    fn add_group(&mut self, members: &[GroupMember], max_bytes: usize) {
        let group = Group::new(self.appended, members);
        let start = self.encoded.len();
        let kind = match group.metric_type() {
            Some(MetricType::Summary) => {
                summary::put(group, &mut self.encoded);
                MetricKind::Summary
            }
            _ => {
                classic::put(group, &mut self.encoded);
                MetricKind::Histogram
            }
        };
        let run = MetricRun::begin(kind, group.name(), group.first().family);
        self.add_encoded(run, start, group.len() as u64, max_bytes);
    }

    fn add_encoded(&mut self, run: MetricRun, start: usize, samples: u64, max_bytes: usize) {
        let point = start..self.encoded.len();
        let len = point.len();
        self.add_point(run, Point::Encoded(point), len, samples, max_bytes);
    }

    /// Adds a point to the last run if that has the same metric and room for it.
    /// Otherwise adds `run` with this point.
    fn add_point(
        &mut self,
        mut run: MetricRun,
        point: Point,
        len: usize,
        samples: u64,
        max_bytes: usize,
    ) {
        let len = protobuf::bytes_len(DATA_POINTS, len);
        let fits = |last: &MetricRun| last.is_same_metric(&run) && last.len + len <= max_bytes;
        let at = self.points.len();
        if !self.runs.last().is_some_and(fits) {
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

// === impl MetricRun ===

impl MetricRun {
    fn begin(kind: MetricKind, name: u32, family: Option<u32>) -> Self {
        Self {
            kind,
            name,
            family,
            points: 0..0,
            len: 0,
            samples: 0,
        }
    }

    fn is_same_metric(&self, other: &Self) -> bool {
        (self.kind, self.name, self.family) == (other.kind, other.name, other.family)
    }
}
