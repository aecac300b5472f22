//! Tracks the type and unit of the current metric family.

use std::borrow::Cow;

use mesh_model::labels::METRIC_NAME;

use super::MetricType;

const TYPE: &str = "__type__";
const UNIT: &str = "__unit__";

/// Type and unit from the most recent metadata lines.
///
/// In the text formats they apply to all following samples, whatever their names are.
/// Prometheus does the same.
#[derive(Clone, Debug, Default)]
pub(super) struct FamilyMetadata<'a> {
    pub(super) metric_type: MetricType,
    pub(super) unit: Cow<'a, str>,
    /// Add both to the samples as labels.
    as_labels: bool,
}

// === impl FamilyMetadata ===

impl<'a> FamilyMetadata<'a> {
    /// Creates empty metadata. `as_labels` adds type and unit to the samples as labels.
    pub(super) fn new(as_labels: bool) -> Self {
        Self {
            as_labels,
            ..Self::default()
        }
    }

    /// Adds the labels for type and unit, if enabled and known.
    pub(super) fn push_labels(&self, out: &mut Vec<(String, String)>) {
        if self.overrides(TYPE) {
            out.push((TYPE.to_owned(), self.metric_type.as_str().to_owned()));
        }
        if self.overrides(UNIT) {
            out.push((UNIT.to_owned(), self.unit.clone().into_owned()));
        }
    }

    /// Returns true if the parser itself sets the label, so that it must drop an exposed
    /// label of this name.
    pub(super) fn overrides(&self, label: &str) -> bool {
        self.as_labels
            && match label {
                METRIC_NAME => true,
                TYPE => self.metric_type != MetricType::Unknown,
                UNIT => !self.unit.is_empty(),
                _ => false,
            }
    }
}
