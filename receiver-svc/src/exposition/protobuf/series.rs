//! Which series a sample of a metric is of.

use mesh::{
    float,
    labels::{BUCKET, METRIC_NAME, QUANTILE},
};

use super::message::{Family, MessageError, Metric};
use crate::exposition::metadata::Metadata;

/// What a sample is of its metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Part {
    /// The only sample, or a native histogram.
    #[default]
    Whole,
    Count,
    Sum,
    /// By its upper bound.
    Bucket(f64),
    Quantile(f64),
}

/// Bytes that are a series' own: the metric's name and labels, then the part.
/// What separates them is no UTF-8, so none can be taken for another.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesKey {
    bytes: Vec<u8>,
    /// How many of them all samples of the metric have in common.
    common: usize,
    part: Part,
}

const NAME: u8 = 0xff;
const PART: u8 = 0xfe;

// === impl Part ===

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Whole | Self::Quantile(_) => "",
            Self::Count => "_count",
            Self::Sum => "_sum",
            Self::Bucket(_) => "_bucket",
        }
    }

    /// The label that tells samples of one metric apart.
    fn label(self) -> Option<(&'static str, f64)> {
        match self {
            Self::Bucket(upper_bound) => Some((BUCKET, upper_bound)),
            Self::Quantile(quantile) => Some((QUANTILE, quantile)),
            _ => None,
        }
    }
}

// === impl SeriesKey ===

impl SeriesKey {
    /// Starts with the samples of `metric`, whose labels are checked by this.
    pub(super) fn set(&mut self, name: &str, metric: &Metric<'_>) -> Result<(), MessageError> {
        self.bytes.clear();
        self.bytes.extend_from_slice(name.as_bytes());
        for label in metric.labels() {
            let (name, value) = label?;
            if name.is_empty() {
                return Err(MessageError::LabelName);
            }
            for text in [name, value] {
                self.bytes.push(NAME);
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
        self.common = self.bytes.len();
        Ok(())
    }

    /// Goes to the sample that is this part of the metric.
    pub(super) fn select(&mut self, part: Part) {
        self.part = part;
        self.bytes.truncate(self.common);
        self.bytes.push(PART);
        self.bytes.extend_from_slice(part.suffix().as_bytes());
        if let Some((_, value)) = part.label() {
            self.bytes.push(PART);
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn part(&self) -> Part {
        self.part
    }
}

/// Adds the labels of a sample.
pub(super) fn labels(
    family: &Family<'_>,
    metric: &Metric<'_>,
    part: Part,
    type_and_unit: bool,
    out: &mut Vec<(String, String)>,
) {
    let mut metadata = Metadata::new(type_and_unit);
    metadata.metric_type = family.metric_type;
    metadata.unit = family.unit.into();
    out.push((
        METRIC_NAME.to_owned(),
        format!("{}{}", family.name, part.suffix()),
    ));
    metadata.stamp(out);
    let own = metric
        .labels()
        .filter_map(Result::ok)
        .filter(|(name, _)| !metadata.stamps(name));
    out.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    out.extend(
        part.label()
            .map(|(name, value)| (name.to_owned(), float::openmetrics(value))),
    );
}
