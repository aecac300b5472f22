//! Relabeling: rules that rewrite, keep or drop label sets.
//!
//! The receiver relabels targets and samples, the exporter what it writes. All
//! use this one function, which does to a label set exactly what Prometheus does
//! with the same rules.
//!
//! ```
//! use mesh::{config::relabel::RelabelConfig, labels::Labels, relabel::relabel};
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
//! # Ok::<(), mesh::go_regexp::RegexpError>(())
//! ```

use std::borrow::Cow;

use md5::{Digest, Md5};

use crate::{
    config::relabel::{Action, RelabelConfig},
    labels::LabelsBuilder,
};

mod case;

/// Applies `configs` in their order; `false` as soon as one of them drops the set,
/// whose labels then mean nothing any more.
///
/// The rules are expected to be [valid](RelabelConfig::validate).
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

/// The values of the source labels, joined. An absent label counts as empty.
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

/// The last 8 bytes of the MD5 of `value`, as a big-endian number modulo
/// `modulus`. Users shard by it, so it must be Prometheus' to the bit.
fn hash_mod(value: &str, modulus: u64) -> String {
    let digest: [u8; 16] = Md5::digest(value).into();
    let [_, _, _, _, _, _, _, _, last @ ..] = digest;
    (u64::from_be_bytes(last) % modulus).to_string()
}

/// Copies labels to other names. Where several come to one name, the last in the
/// order of names wins; in Prometheus it is the last in the order in which they
/// were set, which for targets is that of a Go map.
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
