//! Decodes a `Metric` without its data points, and the fields that all data points
//! share.

use mesh_wire::protobuf::{Fields, WireError};
use proto::v1::metric_metadata::MetricType;

use crate::{
    remote_write::part::Family,
    translate::{NO_RECORDED_VALUE, STALE_NAN, sink::Times},
};

/// Metadata key of a scraped metric's type.
const TYPE_METADATA: &[u8] = b"prometheus.type";
/// Metadata key of a scraped metric's family, if it differs from the name.
const FAMILY_METADATA: &[u8] = b"prometheus.family";
/// Metadata key of a histogram whose buckets are those of a native histogram.
const HISTOGRAM_METADATA: &[u8] = b"prometheus.histogram";
/// Metadata value of a native histogram with custom buckets.
const CUSTOM_BUCKETS: &[u8] = b"nhcb";

/// Decoded `Metric` with encoded data points.
#[derive(Debug, Default)]
pub struct Metric<'a> {
    /// Name of the metric: that of a sample, or that of the family for histograms and
    /// summaries.
    pub name: &'a str,
    help: &'a str,
    unit: &'a str,
    metric_type: &'a [u8],
    family: &'a [u8],
    /// True if the buckets are those of a native histogram with custom buckets.
    pub custom_buckets: bool,
    /// Type of the data points.
    pub kind: PointType,
    /// Encoded `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`.
    pub data: &'a [u8],
}

/// Type of data points.
#[derive(Clone, Copy, Debug, Default)]
pub enum PointType {
    /// Data point of a gauge or a sum.
    #[default]
    Number,
    /// Data point of a histogram with explicit bounds.
    Histogram,
    /// Data point of an exponential histogram.
    Exponential,
    /// Data point of a summary.
    Summary,
}

/// Fields that all data points share.
#[derive(Debug, Default)]
pub struct Point<'a> {
    /// Timestamps of the point.
    pub times: Times,
    /// True if the series is stale.
    pub stale: bool,
    /// Encoded exemplars of the point.
    pub exemplars: Vec<&'a [u8]>,
}

// === impl Metric ===

impl<'a> Metric<'a> {
    /// Decodes an encoded `Metric`.
    ///
    /// # Errors
    /// Returns an error if the bytes are malformed or the name is missing.
    pub fn read(encoded: &'a [u8]) -> Result<Self, WireError> {
        let mut metric = Self::default();
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                1 => metric.name = field.text()?,
                2 => metric.help = field.text()?,
                3 => metric.unit = field.text()?,
                5 | 7 => metric.set_data(PointType::Number, field.bytes()?),
                9 => metric.set_data(PointType::Histogram, field.bytes()?),
                10 => metric.set_data(PointType::Exponential, field.bytes()?),
                11 => metric.set_data(PointType::Summary, field.bytes()?),
                12 => metric.metadata(field.bytes()?)?,
                _ => {}
            }
        }
        // No receiver sends a metric without a name, and no backend accepts one.
        if metric.name.is_empty() {
            return Err(WireError::Missing(1));
        }
        Ok(metric)
    }

    fn set_data(&mut self, kind: PointType, data: &'a [u8]) {
        (self.kind, self.data) = (kind, data);
    }

    /// Reads one `KeyValue` of the metadata.
    fn metadata(&mut self, encoded: &'a [u8]) -> Result<(), WireError> {
        let (mut key, mut value) = (&[][..], &[][..]);
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                1 => key = field.bytes()?,
                // AnyValue.string_value.
                2 => {
                    value = messages(field.bytes()?, 1)
                        .next()
                        .transpose()?
                        .unwrap_or_default()
                }
                _ => {}
            }
        }
        match key {
            TYPE_METADATA => self.metric_type = value,
            FAMILY_METADATA => self.family = value,
            HISTOGRAM_METADATA => self.custom_buckets = value == CUSTOM_BUCKETS,
            _ => {}
        }
        Ok(())
    }

    /// Metadata of the metric's family.
    pub fn family(&self) -> Family {
        let family = match self.family {
            [] => self.name.to_owned(),
            name => String::from_utf8_lossy(name).into_owned(),
        };
        let metric_type = match self.metric_type {
            b"counter" => MetricType::Counter,
            b"gauge" => MetricType::Gauge,
            b"histogram" => MetricType::Histogram,
            b"gaugehistogram" => MetricType::Gaugehistogram,
            b"summary" => MetricType::Summary,
            b"info" => MetricType::Info,
            b"stateset" => MetricType::Stateset,
            _ => MetricType::Unknown,
        };
        Family {
            name: family,
            metric_type,
            help: self.help.to_owned(),
            unit: self.unit.to_owned(),
        }
    }
}

// === impl Point ===

impl Point<'_> {
    /// Reads the flags of the point.
    pub fn flags(&mut self, flags: u64) {
        self.stale = flags & u64::from(NO_RECORDED_VALUE) != 0;
    }

    /// Returns `value`, or the staleness marker if the series is stale.
    pub fn value(&self, value: f64) -> f64 {
        if self.stale { STALE_NAN } else { value }
    }
}

/// Iterates over the messages in a repeated field of `encoded`.
pub fn messages(encoded: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::new(encoded).filter_map(move |field| match field {
        Ok(field) => (field.number == number).then(|| field.bytes()),
        Err(error) => Some(Err(error)),
    })
}
