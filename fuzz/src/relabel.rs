//! Target for relabel rules and the label sets that they apply to.

use mesh_model::validation::ValidationScheme;
use mesh_model::{
    config::relabel::{Action, RelabelConfig},
    labels::{Labels, LabelsBuilder},
    relabel::relabel,
};

/// Reads one rule per line, with tab-separated fields. After an empty line follows
/// one `name=value` per line.
pub fn run(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else {
        return;
    };
    let (rules, labels) = input.split_once("\n\n").unwrap_or((input, ""));
    let configs: Vec<RelabelConfig> = rules
        .lines()
        .take(8)
        .filter_map(rule)
        .filter(|config| config.validate().is_ok())
        .collect();
    let labels: Labels = labels
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let mut builder = labels.to_builder();
    let keep = relabel(&configs, &mut builder);
    let mut again = labels.to_builder();
    assert_eq!(relabel(&configs, &mut again), keep);
    assert_eq!(again, builder, "relabeling is deterministic");
    assert_valid_label_set(&builder);
    for config in &configs {
        assert_effect_of_action(config, &labels);
    }
}

/// Parses action, source labels, separator, regex, modulus, target label and
/// replacement. A missing field takes its default.
fn rule(line: &str) -> Option<RelabelConfig> {
    let mut fields = line.split('\t');
    let mut config = RelabelConfig {
        action: fields.next()?.parse().ok()?,
        name_validation_scheme: match line.len() % 2 {
            0 => ValidationScheme::Utf8,
            _ => ValidationScheme::Legacy,
        },
        ..RelabelConfig::default()
    };
    let mut field = || fields.next().filter(|field| !field.is_empty());
    if let Some(names) = field() {
        config.source_labels = names.split(',').map(str::to_owned).collect();
    }
    if let Some(separator) = field() {
        config.separator = separator.to_owned();
    }
    if let Some(regex) = field() {
        config.regex = regex.get(..128).unwrap_or(regex).parse().ok()?;
    }
    config.modulus = field().and_then(|number| number.parse().ok()).unwrap_or(0);
    config.target_label = field().unwrap_or_default().to_owned();
    if let Some(replacement) = field() {
        config.replacement = replacement.to_owned();
    }
    Some(config)
}

fn assert_valid_label_set(labels: &LabelsBuilder) {
    assert!(labels.iter().is_sorted_by(|(a, _), (b, _)| a < b));
    assert!(labels.iter().all(|(_, value)| !value.is_empty()));
}

fn assert_effect_of_action(config: &RelabelConfig, labels: &Labels) {
    let mut builder = labels.to_builder();
    let keep = relabel(std::slice::from_ref(config), &mut builder);
    let after = builder.build();
    match config.action {
        Action::Keep | Action::Drop | Action::KeepEqual | Action::DropEqual => {
            assert_eq!(&after, labels);
        }
        Action::HashMod => {
            let hash = after.get(&config.target_label).expect("a hash");
            assert!(hash.parse::<u64>().expect("a number") < config.modulus);
        }
        Action::LabelDrop | Action::LabelKeep => {
            assert!(
                after
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
            );
        }
        Action::LabelMap => assert!(after.len() >= labels.len()),
        Action::Replace => assert!(after.len().abs_diff(labels.len()) <= 1),
        Action::Lowercase | Action::Uppercase => {
            assert!(labels.iter().all(|(name, value)| {
                name == config.target_label || after.get(name) == Some(value)
            }));
        }
    }
    let dropping = matches!(
        config.action,
        Action::Keep | Action::Drop | Action::KeepEqual | Action::DropEqual
    );
    assert!(keep || dropping);
}
