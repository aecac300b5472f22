//! Sink of translated series: encodes their samples and counts rejections.

use std::{sync::Arc, time::Duration};

use mesh_base::clock::Clock;
use mesh_contract::verdict::{Reason, Verdict};
use mesh_wire::protobuf;
use proto::v1;

use super::consistency;
use crate::{
    memory::{ExportMemory, OutOfMemory},
    remote_write::part::{Family, PartBuilder, RequestLimits, RequestPart, Sample, SeriesRef},
};

/// Native histograms that a destination supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeHistograms {
    /// No native histograms. They become classic histograms if possible.
    None,
    /// Native histograms with exponential buckets, as in AMP.
    Exponential,
    /// Native histograms with exponential or custom buckets, as in Prometheus.
    All,
}

/// Data that a destination accepts.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Supported native histograms.
    pub native_histograms: NativeHistograms,
    /// True if the destination accepts native histograms that contradict themselves, such
    /// as a count that is not the sum of the buckets. No backend does.
    pub inconsistent_histograms: bool,
    /// True if the destination accepts exemplars.
    pub exemplars: bool,
    /// True if the destination accepts metadata of families.
    pub families: bool,
    /// Maximum size of a request part.
    pub limits: RequestLimits,
    /// Maximum age of a sample; `None` for no limit.
    pub max_age: Option<Duration>,
}

/// Collects the series of one Export for one destination.
#[derive(Debug)]
pub struct Sink {
    capabilities: Capabilities,
    builder: PartBuilder,
    units: u64,
    /// Number of counted samples that relabeling dropped.
    dropped: u64,
    rejections: Verdict,
    problem: Option<String>,
    /// Set if too little memory was free for a sample.
    out_of_memory: Option<OutOfMemory>,
    /// Minimum timestamp of a sample.
    oldest_ms: i64,
    /// Encoded fields of the current sample.
    fields: Vec<u8>,
}

/// Result of the translation of one Export for one destination.
#[derive(Debug)]
pub struct Translated {
    /// Series, split into request parts.
    pub parts: Vec<RequestPart>,
    /// Number of samples in the Export as the sender counts them, including rejected
    /// ones.
    pub units: u64,
    /// Number of counted samples that relabeling dropped.
    pub dropped: u64,
    /// Samples that the exporter rejected before sending.
    pub rejections: Verdict,
    /// Message of the first rejection.
    pub problem: Option<String>,
}

/// Timestamp and start timestamp of a sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Milliseconds since the Unix epoch; 0 if unknown.
    pub start_ms: i64,
}

// === impl Sink ===

impl Sink {
    /// Creates an empty sink for a destination, without a limit on memory.
    pub fn new(capabilities: Capabilities) -> Self {
        Self::within(capabilities, ExportMemory::unlimited())
    }

    /// Creates an empty sink for a destination, which takes its memory from `memory`.
    pub fn within(capabilities: Capabilities, memory: ExportMemory) -> Self {
        Self {
            capabilities,
            builder: PartBuilder::new(capabilities.limits, memory),
            units: 0,
            dropped: 0,
            rejections: Verdict::default(),
            problem: None,
            out_of_memory: None,
            oldest_ms: capabilities.max_age.map_or(i64::MIN, |age| {
                let now_ms = Clock::system().now_ms();
                now_ms.saturating_sub_unsigned(age.as_millis() as u64)
            }),
            fields: Vec::new(),
        }
    }

    /// Capabilities of the destination.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Reserves memory for data that is in memory while its series are written. Returns false
    /// if the Export has to end or its data to be rejected, because the memory limits do not
    /// allow it.
    ///
    /// # Errors
    /// Returns [`OutOfMemory::Always`] if one Export may never use that much.
    pub fn reserve(&mut self, bytes: usize) -> Result<bool, OutOfMemory> {
        match self.builder.memory().add(bytes) {
            Ok(()) => Ok(true),
            Err(error @ (OutOfMemory::Now | OutOfMemory::Joint)) => {
                self.out_of_memory = Some(error);
                Ok(false)
            }
            Err(error @ OutOfMemory::Always) => Err(error),
        }
    }

    /// Releases memory that [`Self::reserve`] reserved.
    pub fn release(&mut self, bytes: usize) {
        self.builder.memory().release(bytes);
    }

    /// Bytes that the Export may still use at most.
    pub fn remaining_bytes(&mut self) -> usize {
        self.builder.memory().remaining()
    }

    /// Begins another resource; the following series belong to it.
    pub fn begin_resource(&mut self) {
        self.builder.begin_resource();
    }

    /// Begins another family; the following series belong to it. Its help text is left out if
    /// the memory limits do not allow it.
    pub fn begin_family(&mut self, mut family: Family) {
        let bytes = size_of::<Family>() + family.name.len() + family.help.len();
        if self.reserve(bytes) != Ok(true) {
            family.help = String::new();
        }
        self.builder.begin_family(Arc::new(family));
    }

    /// Counts samples of the Export, as the sender counts them.
    pub fn count(&mut self, units: u64) {
        self.units += units;
    }

    /// Counts rejected samples, and keeps the message of the first rejection.
    pub fn reject(&mut self, reason: Reason, units: u64, problem: impl FnOnce() -> String) {
        self.rejections.reject(reason, units);
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
            time_ms => 1 + protobuf::varint_len(time_ms as u64),
        };
        protobuf::put_header(2, value_len + time_len, &mut self.fields);
        protobuf::put_implicit_double(1, value, &mut self.fields);
        protobuf::put_implicit_int64(2, times.time_ms, &mut self.fields);
        self.put_exemplars(exemplars);
        self.push(series, times, counted);
    }

    /// Adds a native histogram. Rejects an inconsistent one, for which some backends refuse
    /// the whole request.
    pub fn histogram(
        &mut self,
        series: SeriesRef<'_>,
        times: Times,
        mut histogram: v1::Histogram,
        exemplars: &[v1::Exemplar],
    ) {
        if !self.capabilities.inconsistent_histograms
            && let Err(error) = consistency::check(&histogram)
            // The backend never receives a series that relabeling drops.
            && !series.labels.is_empty()
        {
            return self.reject(Reason::InvalidHistogram, 1, || {
                format!("native histogram {}: {error}", series.metric_name())
            });
        }
        histogram.timestamp = times.time_ms;
        self.fields.clear();
        self.put_exemplars(exemplars);
        protobuf::put_bytes(4, &histogram.encode_exactly(), &mut self.fields);
        self.push(series, times, true);
    }

    fn put_exemplars(&mut self, exemplars: &[v1::Exemplar]) {
        for exemplar in exemplars {
            protobuf::put_bytes(3, &exemplar.encode_exactly(), &mut self.fields);
        }
    }

    fn push(&mut self, series: SeriesRef<'_>, times: Times, counted: bool) {
        if series.labels.is_empty() {
            self.dropped += u64::from(counted);
            return;
        }
        if times.time_ms < self.oldest_ms {
            let problem = || "the sample is older than sample_age_limit".to_owned();
            return self.reject(Reason::TooOld, u64::from(counted), problem);
        }
        let sample = Sample {
            fields: &self.fields,
            start_ms: times.start_ms,
            counted,
        };
        match self.builder.push(series, sample) {
            Ok(()) => {}
            Err(error @ (OutOfMemory::Now | OutOfMemory::Joint)) => {
                self.out_of_memory = Some(error);
            }
            Err(error @ OutOfMemory::Always) => {
                self.reject(Reason::TooLarge, u64::from(counted), || error.to_string());
            }
        }
    }

    /// Ends the Export and returns the result, and the memory of the Export with its parts.
    /// The result is an error if too little memory was free for a sample.
    pub fn finish(self) -> (Result<Translated, OutOfMemory>, ExportMemory) {
        let (parts, memory) = self.builder.finish();
        if let Some(error) = self.out_of_memory {
            return (Err(error), memory);
        }
        let translated = Translated {
            parts,
            units: self.units,
            dropped: self.dropped,
            rejections: self.rejections,
            problem: self.problem,
        };
        (Ok(translated), memory)
    }
}
