//! Samples, which refer to their series and family by ID.

use std::ops::Range;

use crate::exposition::{Histogram, MetricType};

/// Value of a staleness marker: a NaN with a specific bit pattern.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// One sample of a scrape.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// ID of the series.
    pub(crate) series: u32,
    /// ID of the metric family, if it is known.
    pub(crate) family: Option<u32>,
    /// Number of earlier samples of the same series in this scrape.
    pub(crate) round: u32,
    /// Timestamp, in milliseconds since the Unix epoch.
    pub(crate) time_ms: i64,
    /// Start timestamp of the series, in milliseconds since the Unix epoch.
    pub(crate) start_ms: Option<i64>,
    pub(crate) value: SampleValue,
    /// Range of the sample's exemplars within those of the scrape.
    pub(crate) exemplars: Range<usize>,
}

/// Value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// Float.
    Float(f64),
    /// Native histogram.
    Histogram(Box<Histogram>),
    /// Staleness marker: the series has ended.
    Stale,
}

/// Metadata of a metric family, as the target exposes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name of the family.
    pub family: String,
    /// Metric type, from `# TYPE`.
    pub metric_type: MetricType,
    /// Help text, from `# HELP`.
    pub help: String,
    /// Unit, from `# UNIT`.
    pub unit: String,
}

// === impl Sample ===

impl Sample {
    /// Creates a sample without start timestamp and exemplars.
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
    /// Returns true if both values are equal. Floats are compared bit by bit.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self.as_float(), other.as_float()) {
            (Some(one), Some(other)) => one.to_bits() == other.to_bits(),
            _ => self == other,
        }
    }

    /// Returns the float value, including that of a staleness marker.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Stale => Some(STALE_NAN),
            Self::Histogram(_) => None,
        }
    }
}
