//! What a scrape appends: samples by the number of their series.

use std::ops::Range;

use crate::exposition::{Histogram, MetricType};

/// The value of a staleness marker: one particular NaN.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// One sample of a scrape.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Its series, by its place in the cache.
    pub(crate) series: u32,
    /// Its family, by its place in the cache, where one is known.
    pub(crate) family: Option<u32>,
    /// How many samples of its series stand before it in this scrape.
    pub(crate) round: u32,
    /// Milliseconds since the Unix epoch.
    pub(crate) time_ms: i64,
    /// When the series started to count, likewise.
    pub(crate) start_ms: Option<i64>,
    pub(crate) value: SampleValue,
    /// Its exemplars among those of the scrape.
    pub(crate) exemplars: Range<usize>,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
    /// The series has ended.
    Stale,
}

/// What a target says of a family of metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The family's name.
    pub family: String,
    /// `# TYPE`.
    pub metric_type: MetricType,
    /// `# HELP`.
    pub help: String,
    /// `# UNIT`.
    pub unit: String,
}

// === impl Sample ===

impl Sample {
    /// A sample without all that most samples do not have.
    pub(crate) fn new(series: u32, family: Option<u32>, time_ms: i64, value: SampleValue) -> Self {
        Self {
            series,
            family,
            round: 0,
            time_ms,
            start_ms: None,
            value,
            exemplars: 0..0,
        }
    }
}

// === impl SampleValue ===

impl SampleValue {
    /// Whether both are the same to the last bit.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self.as_float(), other.as_float()) {
            (Some(one), Some(other)) => one.to_bits() == other.to_bits(),
            _ => self == other,
        }
    }

    /// The float, the staleness marker included.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Stale => Some(STALE_NAN),
            Self::Histogram(_) => None,
        }
    }
}
