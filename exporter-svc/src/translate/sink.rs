//! Where translated series go: encodes their samples and counts what was
//! refused.

use std::{sync::Arc, time::Duration};

use mesh::{
    clock::Clock,
    verdict::{Reason, Verdict},
    wire,
};
use proto::v1;

use crate::remote_write::piece::{Cutter, Family, Piece, RequestLimits, Sample, SeriesRef};

/// Which native histograms a destination takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeHistograms {
    /// None; they become classic ones where that is possible.
    None,
    /// Those with exponential buckets, as AMP does.
    Exponential,
    /// Those with custom bounds too, as Prometheus does.
    All,
}

/// What a destination wants to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Its native histograms.
    pub native_histograms: NativeHistograms,
    /// Whether exemplars are sent.
    pub exemplars: bool,
    /// Whether families are noted beside their series.
    pub families: bool,
    /// How large a piece may become.
    pub limits: RequestLimits,
    /// How old samples may be.
    pub max_age: Option<Duration>,
}

/// Collects the series of one Export for one destination.
#[derive(Debug)]
pub struct Sink {
    wants: Wants,
    cutter: Cutter,
    units: u64,
    /// Those of which relabeling dropped the series that counts.
    dropped: u64,
    refused: Verdict,
    problem: Option<String>,
    /// Samples before this are too old.
    oldest_ms: i64,
    /// Encoded fields of the sample under way.
    fields: Vec<u8>,
}

/// What one Export became for one destination.
#[derive(Debug)]
pub struct Translated {
    /// Its series.
    pub pieces: Vec<Piece>,
    /// How many units of the sender's ledger it holds, refused ones included.
    pub units: u64,
    /// How many of them relabeling dropped.
    pub dropped: u64,
    /// What was refused here, before anything was sent.
    pub refused: Verdict,
    /// Why the first of them was refused, in words.
    pub problem: Option<String>,
}

/// When a sample was taken and since when it counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Milliseconds since the Unix epoch; 0 where unknown.
    pub start_ms: i64,
}

// === impl Sink ===

impl Sink {
    /// An empty sink for a destination.
    pub fn new(wants: Wants) -> Self {
        Self {
            wants,
            cutter: Cutter::new(wants.limits),
            units: 0,
            dropped: 0,
            refused: Verdict::default(),
            problem: None,
            oldest_ms: wants.max_age.map_or(i64::MIN, |age| {
                let now_ms = Clock::system().now_ms();
                now_ms.saturating_sub_unsigned(age.as_millis() as u64)
            }),
            fields: Vec::new(),
        }
    }

    /// What its destination wants.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// The series that follow are of another resource.
    pub fn begin_resource(&mut self) {
        self.cutter.begin_resource();
    }

    /// Says of which family the series that follow are.
    pub fn begin_family(&mut self, family: Family) {
        self.cutter.begin_family(Arc::new(family));
    }

    /// Counts a unit of the sender's ledger.
    pub fn count(&mut self, units: u64) {
        self.units += units;
    }

    /// Counts `units` as refused, and keeps the first problem's words.
    pub fn refuse(&mut self, reason: Reason, units: u64, problem: impl FnOnce() -> String) {
        self.refused.reject(reason, units);
        self.problem.get_or_insert_with(problem);
    }

    /// Adds a float sample.
    pub fn float(
        &mut self,
        series: SeriesRef<'_>,
        times: Times,
        value: f64,
        exemplars: &[v1::Exemplar],
        counted: bool,
    ) {
        self.fields.clear();
        let value_len = if value.to_bits() == 0 { 0 } else { 9 };
        let time_len = match times.time_ms {
            0 => 0,
            time_ms => 1 + wire::varint_len(time_ms as u64),
        };
        wire::put_header(2, value_len + time_len, &mut self.fields);
        wire::put_implicit_double(1, value, &mut self.fields);
        wire::put_implicit_int64(2, times.time_ms, &mut self.fields);
        self.put_exemplars(exemplars);
        self.push(series, times, counted);
    }

    /// Adds a native histogram.
    pub fn histogram(
        &mut self,
        series: SeriesRef<'_>,
        times: Times,
        mut histogram: v1::Histogram,
        exemplars: &[v1::Exemplar],
    ) {
        histogram.timestamp = times.time_ms;
        self.fields.clear();
        self.put_exemplars(exemplars);
        wire::put_bytes(4, &histogram.encode_exactly(), &mut self.fields);
        self.push(series, times, true);
    }

    fn put_exemplars(&mut self, exemplars: &[v1::Exemplar]) {
        for exemplar in exemplars {
            wire::put_bytes(3, &exemplar.encode_exactly(), &mut self.fields);
        }
    }

    fn push(&mut self, series: SeriesRef<'_>, times: Times, counted: bool) {
        if series.labels.is_empty() {
            self.dropped += u64::from(counted);
            return;
        }
        if times.time_ms < self.oldest_ms {
            let problem = || "older than sample_age_limit".to_owned();
            return self.refuse(Reason::TooOld, u64::from(counted), problem);
        }
        let sample = Sample {
            fields: &self.fields,
            start_ms: times.start_ms,
            counted,
        };
        if let Err(error) = self.cutter.push(series, sample) {
            self.refuse(Reason::TooLarge, u64::from(counted), || error.to_string());
        }
    }

    /// Ends the Export.
    pub fn finish(self) -> Translated {
        Translated {
            pieces: self.cutter.finish(),
            units: self.units,
            dropped: self.dropped,
            refused: self.refused,
            problem: self.problem,
        }
    }
}
