//! Computes the stored labels of a series from its exposed labels.

use std::collections::HashSet;

use mesh_model::validation::ValidationScheme;
use mesh_model::{
    labels::{Labels, LabelsBuilder, METRIC_NAME},
    relabel::relabel,
};

use super::{limits::LimitError, options::Options};

/// Number of labels up to which comparing all pairs is the fastest way to find duplicates.
const FEW_LABELS: usize = 32;
/// Prefix for an exposed label that conflicts with a label of the target.
const EXPORTED: &str = "exported_";

/// Series that cannot be stored. It fails the whole scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// Series without a name after relabeling.
    #[error("missing metric name (__name__ label) in {0}; check metric_relabel_configs")]
    NoName(Labels),
    /// Invalid metric name or label name.
    #[error("invalid metric name or label names: {0}")]
    InvalidName(Labels),
    /// Label that occurs twice in a sample.
    #[error("label name {name:?} is not unique in a sample of {metric:?}")]
    Duplicate {
        /// Metric name.
        metric: String,
        /// Label name.
        name: String,
    },
    /// Label limit exceeded.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// Returns the labels under which an exposed series is stored, or `None` if relabeling
/// drops it.
///
/// # Errors
/// Returns an error if the labels are invalid or exceed a limit.
pub(crate) fn of_sample(
    exposed: &[(String, String)],
    target: &Labels,
    options: &Options,
) -> Result<Option<Labels>, LabelsError> {
    let pairs = exposed.iter().map(|(name, value)| (&**name, &**value));
    let mut labels: LabelsBuilder = pairs.collect();
    if options.honor_labels {
        add_missing(&mut labels, exposed, target);
    } else {
        override_labels(&mut labels, target);
    }
    if !relabel(&options.metric_relabel_configs, &mut labels) || labels.is_empty() {
        return Ok(None);
    }
    check_duplicates(exposed)?;
    let labels = labels.build();
    validate(&labels, options.validation_scheme)?;
    options.label_limits.check(&labels)?;
    Ok(Some(labels))
}

/// Returns the labels of a report series.
///
/// As in Prometheus, a label of the target removes the label `exported_…` of the same name
/// that precedes it in the order of names: `job` removes `exported_job`, but `app` does not
/// remove `exported_app`.
pub(crate) fn of_report(name: &str, target: &Labels) -> Labels {
    let mut labels = LabelsBuilder::default();
    labels.set(METRIC_NAME, name);
    for (name, value) in target.iter() {
        labels.del(&format!("{EXPORTED}{name}"));
        labels.set(name, value);
    }
    labels.build()
}

/// Adds the target's labels that the sample does not have.
///
/// An exposed label with an empty value suppresses the target's label.
fn add_missing(labels: &mut LabelsBuilder, exposed: &[(String, String)], target: &Labels) {
    for (name, value) in target.iter() {
        if !exposed.iter().any(|(exposed, _)| exposed == name) {
            labels.set(name, value);
        }
    }
}

/// Sets the target's labels. Renames exposed labels that conflict.
fn override_labels(labels: &mut LabelsBuilder, target: &Labels) {
    let mut replaced = Vec::new();
    for (name, value) in target.iter() {
        if let Some(exposed) = labels.get(name) {
            replaced.push((name.to_owned(), exposed.to_owned()));
        }
        labels.set(name, value);
    }
    // Shortest name first, so that the result does not depend on the label order.
    replaced.sort_by_key(|(name, _)| name.len());
    for (mut name, value) in replaced {
        loop {
            name.insert_str(0, EXPORTED);
            if labels.get(&name).is_none() {
                break;
            }
        }
        labels.set(name, value);
    }
}

fn check_duplicates(exposed: &[(String, String)]) -> Result<(), LabelsError> {
    let Some(name) = duplicate(exposed) else {
        return Ok(());
    };
    let metric = exposed.iter().find(|(name, _)| name == METRIC_NAME);
    Err(LabelsError::Duplicate {
        metric: metric.map_or_else(String::new, |(_, metric)| metric.clone()),
        name: name.to_owned(),
    })
}

/// Returns the first name that occurred before.
fn duplicate(exposed: &[(String, String)]) -> Option<&str> {
    let names = || exposed.iter().map(|(name, _)| &**name);
    if exposed.len() > FEW_LABELS {
        let mut seen = HashSet::with_capacity(exposed.len());
        return names().find(|name| !seen.insert(*name));
    }
    let before = |at: usize, name: &str| exposed[..at].iter().any(|(other, _)| other == name);
    let mut all = names().enumerate();
    all.find(|(at, name)| before(*at, name))
        .map(|(_, name)| name)
}

fn validate(labels: &Labels, scheme: ValidationScheme) -> Result<(), LabelsError> {
    let Some(metric) = labels.get(METRIC_NAME) else {
        return Err(LabelsError::NoName(labels.clone()));
    };
    let names_are_valid = labels
        .iter()
        .all(|(name, _)| scheme.is_valid_label_name(name));
    if !names_are_valid || !scheme.is_valid_metric_name(metric) {
        return Err(LabelsError::InvalidName(labels.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_series_has_no_exported_label_before_the_label_of_that_name() {
        let of = |target: &[(&str, &str)]| {
            let target = target.iter().copied().collect();
            of_report("up", &target).to_string()
        };
        assert_eq!(
            of(&[("exported_job", "a"), ("job", "b")]),
            r#"{__name__="up", job="b"}"#
        );
        assert_eq!(
            of(&[
                ("exported_exported_pod", "a"),
                ("exported_pod", "b"),
                ("pod", "c")
            ]),
            r#"{__name__="up", pod="c"}"#
        );
        assert_eq!(
            of(&[("app", "a"), ("exported_app", "b")]),
            r#"{__name__="up", app="a", exported_app="b"}"#
        );
        assert_eq!(
            of(&[("exported_job", "a")]),
            r#"{__name__="up", exported_job="a"}"#
        );
    }
}
