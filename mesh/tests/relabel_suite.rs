//! Prometheus' own relabeling cases.

use std::collections::BTreeMap;

use mesh::{
    config::relabel::{Action, RelabelConfig, RelabelError, ValidationScheme},
    go_regexp::Regexp,
    labels::Labels,
    relabel::relabel,
};
use serde::{Deserialize, de::DeserializeOwned};

const SUITE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/suites/relabel.json"
);

#[derive(Deserialize)]
struct Case {
    id: String,
    input: BTreeMap<String, String>,
    /// `None` where the set is dropped.
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

/// A rule as a file or a Go table gives it.
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

// === impl Rule ===

impl Rule {
    fn build(self) -> Result<RelabelConfig, RelabelError> {
        let default = RelabelConfig::default();
        let regex = match self.regex {
            Some(regex) => Regexp::new(&regex).expect("a valid expression"),
            None => Regexp::default(),
        };
        Ok(RelabelConfig {
            source_labels: self.source_labels,
            separator: self.separator.unwrap_or(default.separator),
            regex,
            modulus: self.modulus,
            target_label: self.target_label,
            replacement: self.replacement.unwrap_or(default.replacement),
            action: self.action.parse()?,
            name_validation_scheme: ValidationScheme::Utf8,
        })
    }
}

fn section<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let suite = std::fs::read_to_string(SUITE).expect("the suite");
    let mut sections: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&suite).expect("valid JSON");
    let section = sections.remove(name).expect("the section");
    serde_json::from_value(section).expect("the section's form")
}

fn labels(map: BTreeMap<String, String>) -> Labels {
    map.into_iter().collect()
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn label_sets_come_out_as_in_prometheus() {
    let cases: Vec<Case> = section("cases");
    assert_eq!(cases.len(), 37);
    for case in cases {
        let rules: Vec<Rule> =
            serde_saphyr::from_str(&case.relabel_configs_yaml).expect("valid rules");
        let configs: Vec<RelabelConfig> = rules
            .into_iter()
            .map(|rule| rule.build().expect("a known action"))
            .collect();
        let mut builder = labels(case.input).to_builder();
        let output = relabel(&configs, &mut builder).then(|| builder.build());
        assert_eq!(output, case.output.map(labels), "{}", case.id);
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn rules_are_valid_where_they_are_in_prometheus() {
    let cases: Vec<ValidateCase> = section("validate");
    assert_eq!(cases.len(), 10);
    for case in cases {
        let scheme = match case.name_validation_scheme.as_str() {
            "legacy" => ValidationScheme::Legacy,
            _ => ValidationScheme::Utf8,
        };
        let outcome = case.config_go.build().and_then(|config| {
            // The cases are literals of Go, where what is not set is empty.
            let config = RelabelConfig {
                name_validation_scheme: scheme,
                ..config
            };
            config.validate()
        });
        let found = outcome.err().map(|error| error.to_string());
        match (&found, &case.error) {
            (None, None) => {}
            (Some(found), Some(expected)) if found.starts_with(expected) => {}
            _ => panic!("{}: {found:?}, expected {:?}", case.id, case.error),
        }
    }
}

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn legacy_targets_are_valid_where_they_are_in_prometheus() {
    let cases: Vec<TargetCase> = section("legacy_target_label_names");
    assert_eq!(cases.len(), 16);
    for case in cases {
        // Labelmap's replacement obeys that form whether or not it refers to groups.
        let config = RelabelConfig {
            action: Action::LabelMap,
            replacement: case.target.clone(),
            name_validation_scheme: ValidationScheme::Legacy,
            ..RelabelConfig::default()
        };
        assert_eq!(config.validate().is_ok(), case.valid, "{}", case.target);
    }
}
