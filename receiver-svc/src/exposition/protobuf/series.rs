//! Identifies the series of each sample of a metric.

use mesh_model::labels::{BUCKET, METRIC_NAME, QUANTILE};
use mesh_wire::float;

use super::message::{Family, MessageError, Metric};
use crate::exposition::metadata::FamilyMetadata;

/// Role of a sample within its metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Role {
    /// The only sample of its metric, or a native histogram.
    #[default]
    Whole,
    Count,
    Sum,
    /// Classic bucket with this upper bound.
    Bucket(f64),
    Quantile(f64),
}

/// Bytes that identify a series: the name and labels of the metric, then the role.
///
/// The separators never occur in UTF-8, so different series have different bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct SeriesKey {
    bytes: Vec<u8>,
    /// Length of the prefix that all samples of the metric share.
    shared_len: usize,
    role: Role,
}

/// Separator before the name and the value of a label.
const LABEL_SEPARATOR: u8 = 0xff;
/// Separator before the suffix of a role and the value of its label.
const ROLE_SEPARATOR: u8 = 0xfe;

// === impl Role ===

impl Role {
    fn suffix(self) -> &'static str {
        match self {
            Self::Whole | Self::Quantile(_) => "",
            Self::Count => "_count",
            Self::Sum => "_sum",
            Self::Bucket(_) => "_bucket",
        }
    }

    /// Label that distinguishes samples with this role, if there is one.
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
    /// Switches to the samples of `metric` and validates its labels.
    pub(super) fn set(&mut self, name: &str, metric: &Metric<'_>) -> Result<(), MessageError> {
        self.bytes.clear();
        self.bytes.extend_from_slice(name.as_bytes());
        for label in metric.labels() {
            let (name, value) = label?;
            if name.is_empty() {
                return Err(MessageError::LabelName);
            }
            for text in [name, value] {
                self.bytes.push(LABEL_SEPARATOR);
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
        self.shared_len = self.bytes.len();
        Ok(())
    }

    /// Switches to the sample with this role.
    pub(super) fn select(&mut self, role: Role) {
        self.role = role;
        self.bytes.truncate(self.shared_len);
        self.bytes.push(ROLE_SEPARATOR);
        self.bytes.extend_from_slice(role.suffix().as_bytes());
        if let Some((_, value)) = role.label() {
            self.bytes.push(ROLE_SEPARATOR);
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }
}

/// Adds the labels of a sample of `metric`.
pub(super) fn labels(
    family: &Family<'_>,
    metric: &Metric<'_>,
    role: Role,
    type_and_unit: bool,
    out: &mut Vec<(String, String)>,
) {
    let mut metadata = FamilyMetadata::new(type_and_unit);
    metadata.metric_type = family.metric_type;
    metadata.unit = family.unit.into();
    out.push((
        METRIC_NAME.to_owned(),
        format!("{}{}", family.name, role.suffix()),
    ));
    metadata.push_labels(out);
    let own = metric
        .labels()
        .filter_map(Result::ok)
        .filter(|(name, _)| !metadata.overrides(name));
    out.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    out.extend(
        role.label()
            .map(|(name, value)| (name.to_owned(), float::openmetrics(value))),
    );
}
