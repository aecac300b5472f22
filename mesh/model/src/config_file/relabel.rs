//! Lists of relabeling rules.

use serde::Deserialize;

use super::{
    scalar::{Text, null_is_zero},
    section::{List, Problem, build_all},
};
use crate::{
    config::relabel::{Action, RelabelConfig},
    go_regexp::Regexp,
    validation::ValidationScheme,
};

/// One relabeling rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Rule {
    source_labels: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_zero")]
    separator: Option<String>,
    #[serde(default, deserialize_with = "null_is_zero")]
    regex: Option<Text<Regexp>>,
    modulus: Option<u64>,
    target_label: Option<String>,
    #[serde(default, deserialize_with = "null_is_zero")]
    replacement: Option<String>,
    #[serde(default, deserialize_with = "null_is_zero")]
    action: Option<Text<Action>>,
}

/// Builds the rules of one list. `what` is the description of a rule in messages.
pub(in crate::config_file) fn build(
    rules: List<Rule>,
    what: &str,
    scheme: ValidationScheme,
) -> Result<Vec<RelabelConfig>, Problem> {
    build_all(rules, what, |rule| rule.build(scheme))
}

// === impl Rule ===

impl Rule {
    fn build(self, name_validation_scheme: ValidationScheme) -> Result<RelabelConfig, Problem> {
        let default = RelabelConfig::default();
        let config = RelabelConfig {
            source_labels: self.source_labels.unwrap_or_default(),
            separator: self.separator.unwrap_or(default.separator),
            regex: self.regex.map_or(default.regex, |regex| regex.0),
            modulus: self.modulus.unwrap_or(default.modulus),
            target_label: self.target_label.unwrap_or_default(),
            replacement: self.replacement.unwrap_or(default.replacement),
            action: self.action.map_or(default.action, |action| action.0),
            name_validation_scheme,
        };
        config.validate().map_err(Problem::new)?;
        Ok(config)
    }
}
