//! What is known of the family that samples belong to.

use std::borrow::Cow;

use mesh::labels::METRIC_NAME;

use super::MetricType;

const TYPE: &str = "__type__";
const UNIT: &str = "__unit__";

/// What was said last of type and unit. In the text formats it holds for all
/// samples that follow, whatever their names are, as in Prometheus.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata<'a> {
    pub(super) metric_type: MetricType,
    pub(super) unit: Cow<'a, str>,
    /// Both become labels of the samples.
    as_labels: bool,
}

// === impl Metadata ===

impl<'a> Metadata<'a> {
    /// Nothing is known; with `as_labels` what will be known becomes labels.
    pub(super) fn new(as_labels: bool) -> Self {
        Self {
            as_labels,
            ..Self::default()
        }
    }

    /// Adds the labels for type and unit, where they are known.
    pub(super) fn stamp(&self, out: &mut Vec<(String, String)>) {
        if self.stamps(TYPE) {
            out.push((TYPE.to_owned(), self.metric_type.as_str().to_owned()));
        }
        if self.stamps(UNIT) {
            out.push((UNIT.to_owned(), self.unit.clone().into_owned()));
        }
    }

    /// Whether a label of this name is the parser's to set, so that one that the
    /// target exposed is dropped.
    pub(super) fn stamps(&self, label: &str) -> bool {
        self.as_labels
            && match label {
                METRIC_NAME => true,
                TYPE => self.metric_type != MetricType::Unknown,
                UNIT => !self.unit.is_empty(),
                _ => false,
            }
    }
}
