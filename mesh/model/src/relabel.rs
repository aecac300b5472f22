//! Applies relabeling rules, which modify, keep or drop label sets.
//!
//! The receiver relabels targets and samples, the exporter relabels the series that it
//! writes. Both use [`relabel`], whose results are identical to those of Prometheus.
//!
//! ```
//! use mesh_model::{config::relabel::RelabelConfig, labels::Labels, relabel::relabel};
//!
//! let rule = RelabelConfig {
//!     source_labels: vec!["__address__".into()],
//!     regex: "([^:]+):.*".parse()?,
//!     target_label: "host".into(),
//!     ..RelabelConfig::default()
//! };
//! let target: Labels = [("__address__", "node1:9100")].into_iter().collect();
//! let mut labels = target.to_builder();
//! assert!(relabel(&[rule], &mut labels));
//! assert_eq!(labels.get("host"), Some("node1"));
//! # Ok::<(), mesh_model::go_regexp::RegexpError>(())
//! ```

use std::borrow::Cow;

use md5::{Digest, Md5};

use crate::{
    config::relabel::{Action, RelabelConfig},
    labels::LabelsBuilder,
};

mod case;

/// Applies `configs` in order. Returns false as soon as a rule drops the label set; the
/// contents of `labels` are then unspecified.
///
/// The rules must be [valid](RelabelConfig::validate).
pub fn relabel(configs: &[RelabelConfig], labels: &mut LabelsBuilder) -> bool {
    configs.iter().all(|config| apply(config, labels))
}

fn apply(config: &RelabelConfig, labels: &mut LabelsBuilder) -> bool {
    let target = config.target_label.as_str();
    match config.action {
        Action::Keep => return config.regex.is_match(&source(config, labels)),
        Action::Drop => return !config.regex.is_match(&source(config, labels)),
        Action::KeepEqual => return equals_target(config, labels),
        Action::DropEqual => return !equals_target(config, labels),
        Action::Replace => replace(config, labels),
        Action::HashMod => {
            let hash = hash_mod(&source(config, labels), config.modulus);
            labels.set(target, hash);
        }
        Action::Lowercase => {
            let value = case::to_lower(&source(config, labels));
            labels.set(target, value);
        }
        Action::Uppercase => {
            let value = case::to_upper(&source(config, labels));
            labels.set(target, value);
        }
        Action::LabelMap => label_map(config, labels),
        Action::LabelDrop => {
            labels.retain(|name, _| !config.regex.is_match(name));
        }
        Action::LabelKeep => {
            labels.retain(|name, _| config.regex.is_match(name));
        }
    }
    true
}

/// Joins the values of the source labels. A missing label counts as empty.
fn source<'a>(config: &RelabelConfig, labels: &'a LabelsBuilder) -> Cow<'a, str> {
    let value = |name: &String| labels.get(name).unwrap_or_default();
    match config.source_labels.as_slice() {
        [] => Cow::Borrowed(""),
        [only] => Cow::Borrowed(value(only)),
        [first, rest @ ..] => {
            let mut joined = value(first).to_owned();
            for name in rest {
                joined.push_str(&config.separator);
                joined.push_str(value(name));
            }
            Cow::Owned(joined)
        }
    }
}

fn equals_target(config: &RelabelConfig, labels: &LabelsBuilder) -> bool {
    let target = labels.get(&config.target_label).unwrap_or_default();
    target == source(config, labels)
}

fn replace(config: &RelabelConfig, labels: &mut LabelsBuilder) {
    let text = source(config, labels);
    let Some(captures) = config.regex.captures(&text) else {
        return;
    };
    let mut target = String::new();
    captures.expand(&config.target_label, &mut target);
    if !config.name_validation_scheme.is_valid_label_name(&target) {
        return;
    }
    let mut value = String::new();
    captures.expand(&config.replacement, &mut value);
    labels.set(target, value);
}

/// Returns the last 8 bytes of the MD5 hash of `value`, as a big-endian number modulo
/// `modulus`. Users shard by this number, so it must be identical to Prometheus's.
fn hash_mod(value: &str, modulus: u64) -> String {
    let digest: [u8; 16] = Md5::digest(value).into();
    let [_, _, _, _, _, _, _, _, last @ ..] = digest;
    (u64::from_be_bytes(last) % modulus).to_string()
}

/// Copies labels to other names.
///
/// If several labels map to one name, the last one in name order wins. In Prometheus the
/// order of targets' labels is random, that of a Go map.
fn label_map(config: &RelabelConfig, labels: &mut LabelsBuilder) {
    let mapped: Vec<(String, String)> = labels
        .iter()
        .filter_map(|(name, value)| {
            let renamed = config.regex.replace_all(name, &config.replacement)?;
            Some((renamed, value.to_owned()))
        })
        .collect();
    for (name, value) in mapped {
        labels.set(name, value);
    }
}

#[cfg(test)]
mod tests;
