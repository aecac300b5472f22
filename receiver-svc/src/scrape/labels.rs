//! From the labels that a target exposes to those that are stored.

use mesh::{
    config::relabel::ValidationScheme,
    labels::{Labels, LabelsBuilder, METRIC_NAME},
    relabel::relabel,
};

use super::{limits::LimitError, options::Options};

/// What is put before the name of an exposed label that the target's own label
/// takes the place of.
const EXPORTED: &str = "exported_";

/// A series that cannot be stored. It fails the whole scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// Relabeling took the name away.
    #[error("missing metric name (__name__ label), expected {0} to keep one")]
    NoName(Labels),
    /// The name of the metric or of a label is not legal.
    #[error("invalid metric name or label names: {0}")]
    InvalidName(Labels),
    /// The target exposed a label twice.
    #[error("label name {name:?} is not unique in a sample of {metric:?}")]
    Duplicate {
        /// The metric.
        metric: String,
        /// The label.
        name: String,
    },
    /// More or longer labels than the configuration allows.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// The labels under which an exposed series is stored; `None` where relabeling
/// drops it.
///
/// # Errors
/// Where the series is not legal or beyond a limit.
pub(crate) fn of_sample(
    exposed: &[(String, String)],
    target: &Labels,
    options: &Options,
) -> Result<Option<Labels>, LabelsError> {
    let mut labels = LabelsBuilder::default();
    for (name, value) in exposed {
        labels.set(name.as_str(), value.as_str());
    }
    if options.honor_labels {
        add_missing(&mut labels, exposed, target);
    } else {
        take_precedence(&mut labels, target);
    }
    if !relabel(&options.metric_relabel_configs, &mut labels) || labels.is_empty() {
        return Ok(None);
    }
    refuse_duplicates(exposed)?;
    let labels = labels.build();
    validate(&labels, options.validation_scheme)?;
    options.label_limits.check(&labels)?;
    Ok(Some(labels))
}

/// The labels of a report series.
pub(crate) fn of_report(name: &str, target: &Labels) -> Labels {
    let mut labels = target.to_builder();
    labels.set(METRIC_NAME, name);
    labels.build()
}

/// Adds the target's labels that the sample does not have. An exposed label that
/// is empty says that there shall be none.
fn add_missing(labels: &mut LabelsBuilder, exposed: &[(String, String)], target: &Labels) {
    for (name, value) in target.iter() {
        if !exposed.iter().any(|(exposed, _)| exposed == name) {
            labels.set(name, value);
        }
    }
}

/// Sets the target's labels and renames those in their place.
fn take_precedence(labels: &mut LabelsBuilder, target: &Labels) {
    let mut replaced = Vec::new();
    for (name, value) in target.iter() {
        if let Some(exposed) = labels.get(name) {
            replaced.push((name.to_owned(), exposed.to_owned()));
        }
        labels.set(name, value);
    }
    // The shortest first, so that the outcome does not depend on the order of
    // the labels.
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

fn refuse_duplicates(exposed: &[(String, String)]) -> Result<(), LabelsError> {
    for (at, (name, _)) in exposed.iter().enumerate() {
        if exposed[..at].iter().any(|(before, _)| before == name) {
            let metric = exposed.iter().find(|(name, _)| name == METRIC_NAME);
            return Err(LabelsError::Duplicate {
                metric: metric.map_or_else(String::new, |(_, metric)| metric.clone()),
                name: name.clone(),
            });
        }
    }
    Ok(())
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
