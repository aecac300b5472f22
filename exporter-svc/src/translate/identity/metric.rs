//! What an encoded `Metric` says before its data points, and what all kinds of
//! data points have.

use mesh::wire::{Fields, WireError};
use proto::v1::metric_metadata::MetricType;

use crate::{
    remote_write::piece::Family,
    translate::{NO_RECORDED_VALUE, STALE_NAN, sink::Times},
};

/// The metadata that tells a scraped metric's type.
const TYPE_METADATA: &[u8] = b"prometheus.type";
/// The metadata that tells a scraped metric's family, where it is not its name.
const FAMILY_METADATA: &[u8] = b"prometheus.family";
/// The metadata that marks a histogram whose buckets are a native histogram's.
const HISTOGRAM_METADATA: &[u8] = b"prometheus.histogram";
/// Its value for a native histogram with custom bounds.
const CUSTOM_BUCKETS: &[u8] = b"nhcb";

/// A `Metric`, its data points not yet read.
#[derive(Debug, Default)]
pub struct Metric<'a> {
    /// Its name: a sample's, or of a histogram or summary the family's.
    pub name: &'a str,
    help: &'a str,
    unit: &'a str,
    metric_type: &'a [u8],
    family: &'a [u8],
    /// Whether its buckets are those of a native histogram with custom bounds.
    pub custom_buckets: bool,
    /// What its data points are.
    pub kind: Data,
    /// Its encoded `Gauge`, `Sum` and so on.
    pub data: &'a [u8],
}

/// The kinds of data points.
#[derive(Clone, Copy, Debug, Default)]
pub enum Data {
    /// Of a gauge or a sum.
    #[default]
    Number,
    /// Of a histogram with explicit bounds.
    Histogram,
    /// Of an exponential histogram.
    Exponential,
    /// Of a summary.
    Summary,
}

/// What all kinds of data points have.
#[derive(Debug, Default)]
pub struct Point<'a> {
    /// When.
    pub times: Times,
    /// Whether its series ended.
    pub stale: bool,
    /// Its encoded exemplars.
    pub exemplars: Vec<&'a [u8]>,
}

// === impl Metric ===

impl<'a> Metric<'a> {
    /// Reads an encoded `Metric`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn read(encoded: &'a [u8]) -> Result<Self, WireError> {
        let mut metric = Self::default();
        for field in Fields::new(encoded) {
            let field = field?;
            match field.number {
                1 => metric.name = field.text()?,
                2 => metric.help = field.text()?,
                3 => metric.unit = field.text()?,
                5 | 7 => metric.set_data(Data::Number, field.bytes()?),
                9 => metric.set_data(Data::Histogram, field.bytes()?),
                10 => metric.set_data(Data::Exponential, field.bytes()?),
                11 => metric.set_data(Data::Summary, field.bytes()?),
                12 => metric.metadata(field.bytes()?)?,
                _ => {}
            }
        }
        // No receiver sends it, and no backend takes a series without a name.
        match metric.name.is_empty() {
            true => Err(WireError::Missing(1)),
            false => Ok(metric),
        }
    }

    fn set_data(&mut self, kind: Data, data: &'a [u8]) {
        (self.kind, self.data) = (kind, data);
    }

    /// Notes one `KeyValue` of its metadata.
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

    /// What its family says of itself.
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
    /// Notes the point's flags.
    pub fn flags(&mut self, flags: u64) {
        self.stale = flags & u64::from(NO_RECORDED_VALUE) != 0;
    }

    /// `value`, or the staleness marker where the series ended.
    pub fn value(&self, value: f64) -> f64 {
        if self.stale { STALE_NAN } else { value }
    }
}

/// The messages in one repeated field of `encoded`.
pub fn messages(encoded: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::new(encoded).filter_map(move |field| match field {
        Ok(field) => (field.number == number).then(|| field.bytes()),
        Err(error) => Some(Err(error)),
    })
}
