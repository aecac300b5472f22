//! Prometheus's own relabeling cases.

use mesh_model::validation::ValidationScheme;
use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use mesh_model::{
    config::{
        Config,
        relabel::{Action, RelabelConfig, RelabelError},
    },
    go_regexp::Regexp,
    labels::Labels,
    relabel::relabel,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Report, cases};

#[derive(Deserialize)]
struct Case {
    id: String,
    input: BTreeMap<String, String>,
    /// Expected labels. `None` if the label set is dropped.
    output: Option<BTreeMap<String, String>>,
    relabel_configs_yaml: String,
}

#[derive(Deserialize)]
struct ValidateCase {
    id: String,
    config_go: Rule,
    error: Option<String>,
    name_validation_scheme: String,
}

#[derive(Deserialize)]
struct TargetCase {
    target: String,
    valid: bool,
}

#[derive(Deserialize)]
struct YamlCase {
    name: String,
    yaml: String,
    marshalled: String,
}

/// A rule from a configuration file or a Go table.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    source_labels: Vec<String>,
    separator: Option<String>,
    regex: Option<String>,
    modulus: u64,
    target_label: String,
    replacement: Option<String>,
    action: String,
}

pub(super) fn label_sets(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in section::<Case>(suites, "cases")? {
        report.case(&case.id, || {
            let rules: Vec<Rule> =
                serde_saphyr::from_str(&case.relabel_configs_yaml).map_err(|e| e.to_string())?;
            let configs = rules.into_iter().map(Rule::build);
            let configs: Vec<_> = configs
                .collect::<Result<_, _>>()
                .map_err(|e| e.to_string())?;
            let mut builder = labels(case.input).to_builder();
            let output = relabel(&configs, &mut builder).then(|| builder.build());
            cases::same(&output, &case.output.map(labels))
        });
    }
    Ok(())
}

pub(super) fn validation(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in section::<ValidateCase>(suites, "validate")? {
        let scheme = match case.name_validation_scheme.as_str() {
            "legacy" => ValidationScheme::Legacy,
            _ => ValidationScheme::Utf8,
        };
        report.case(&case.id, || {
            let outcome = case.config_go.build().and_then(|config| {
                let config = RelabelConfig {
                    name_validation_scheme: scheme,
                    ..config
                };
                config.validate()
            });
            let found = outcome.err().map(|error| error.to_string());
            match (&found, &case.error) {
                (None, None) => Ok(()),
                (Some(found), Some(expected)) if found.starts_with(expected) => Ok(()),
                _ => Err(format!("{found:?}, expected {:?}", case.error)),
            }
        });
    }
    Ok(())
}

pub(super) fn legacy_targets(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in section::<TargetCase>(suites, "legacy_target_label_names")? {
        report.case(&case.target, || {
            // The replacement of labelmap must have that form even if it contains no group.
            let config = RelabelConfig {
                action: Action::LabelMap,
                replacement: case.target.clone(),
                name_validation_scheme: ValidationScheme::Legacy,
                ..RelabelConfig::default()
            };
            cases::same(&config.validate().is_ok(), &case.valid)
        });
    }
    Ok(())
}

/// Parses a rule and what Prometheus writes of it. Both must have the same meaning.
pub(super) fn yaml(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in section::<YamlCase>(suites, "yaml_roundtrip")? {
        report.case(&case.name, || {
            let written: Rule =
                serde_saphyr::from_str(&case.marshalled).map_err(|e| e.to_string())?;
            let read = parse(&case.yaml)?;
            cases::same(&read, &parse(&case.marshalled)?)?;
            cases::same(&read, &written.build().map_err(|e| e.to_string())?)
        });
    }
    Ok(())
}

/// Parses a rule as part of a configuration file.
fn parse(rule: &str) -> Result<RelabelConfig, String> {
    let rule: String = rule
        .lines()
        .map(|line| format!("        {line}\n"))
        .collect();
    let text = format!("scrape_configs:\n  - job_name: job\n    relabel_configs:\n      -\n{rule}");
    let config = Config::parse(&text, Path::new("case.yml"), &|_| None);
    let mut config = config.map_err(|error| error.to_string())?;
    Ok(config.scrape_configs.remove(0).relabel_configs.remove(0))
}

fn section<T: DeserializeOwned>(suites: &Path, name: &str) -> anyhow::Result<Vec<T>> {
    let mut document = cases::document(&suites.join("relabel.json"))?;
    serde_json::from_value(document[name].take()).with_context(|| name.to_owned())
}

fn labels(map: BTreeMap<String, String>) -> Labels {
    map.into_iter().collect()
}

// === impl Rule ===

impl Rule {
    fn build(self) -> Result<RelabelConfig, RelabelError> {
        let default = RelabelConfig::default();
        let regex = self.regex.as_deref().map(Regexp::new);
        Ok(RelabelConfig {
            source_labels: self.source_labels,
            separator: self.separator.unwrap_or(default.separator),
            // The cases contain no invalid expressions.
            regex: regex.and_then(Result::ok).unwrap_or_default(),
            modulus: self.modulus,
            target_label: self.target_label,
            replacement: self.replacement.unwrap_or(default.replacement),
            action: self.action.parse()?,
            name_validation_scheme: ValidationScheme::Utf8,
        })
    }
}
