//! Selection of monitors by labels and namespaces.

use std::collections::BTreeMap;

use crate::{Monitor, Settings};

/// Result of the selection of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The monitor is scraped.
    Selected,
    /// A selector does not match.
    NotSelected,
}

/// Applies the selectors of the monitor's kind. `namespace_labels` are the labels of the
/// monitor's namespace.
///
/// No label selector selects nothing. No namespace selector selects the namespace of the
/// Prometheus object.
pub fn verdict(
    settings: &Settings,
    monitor: &Monitor,
    namespace_labels: &BTreeMap<String, String>,
) -> Verdict {
    let selection = settings.selection(monitor.kind);
    let by_labels = selection.labels.as_ref();
    let is_selected = by_labels.is_some_and(|labels| labels.selects(&monitor.labels))
        && match &selection.namespaces {
            Some(selector) => selector.selects(namespace_labels),
            None => monitor.namespace == settings.namespace,
        };
    if is_selected {
        Verdict::Selected
    } else {
        Verdict::NotSelected
    }
}
