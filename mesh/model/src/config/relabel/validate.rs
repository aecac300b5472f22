//! Validates relabeling rules.

use std::sync::LazyLock;

use super::{Action, REPLACEMENT, RelabelConfig, SEPARATOR};
use crate::{go_regexp::Regexp, validation::ValidationScheme};

/// Error for an invalid relabeling rule.
///
/// Each message begins with the text of Prometheus's message, so that users can search for
/// it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// `action` is given but empty.
    #[error("relabel action cannot be empty; expected one of {}", actions())]
    EmptyAction,
    /// The action is unknown.
    #[error("unknown relabel action {0:?}; expected one of {list}", list = actions())]
    UnknownAction(String),
    /// `hashmod` has no modulus.
    #[error(
        "relabel configuration for hashmod requires non-zero modulus; \
         expected 'modulus' of 1 or more"
    )]
    ZeroModulus,
    /// The action needs a `target_label`, but none is given.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(Action),
    /// A label name is invalid in the rule's validation scheme.
    #[error("{name:?} is invalid '{field}' for {action} action; expected {expected}")]
    InvalidName {
        /// The invalid name.
        name: String,
        /// Field that contains the name.
        field: &'static str,
        /// Action of the rule.
        action: Action,
        /// Description of a valid name.
        expected: &'static str,
    },
    /// A replacement is given, but the action does not use one.
    #[error("'replacement' can not be set for {action} action; found {replacement:?}")]
    Replacement {
        /// Action of the rule.
        action: Action,
        /// The given replacement.
        replacement: String,
    },
    /// A field is given that the action does not use.
    #[error("{action} action requires only {allowed}, and no other fields; found '{field}'")]
    UnusedField {
        /// Action of the rule.
        action: Action,
        /// Fields that the action uses.
        allowed: &'static str,
        /// The unused field.
        field: &'static str,
    },
}

/// Matches a legacy label name in which `$1`, `$name` and `${name}` stand for letters.
static LEGACY_TEMPLATE: LazyLock<Regexp> = LazyLock::new(|| {
    Regexp::new(r"(?:[a-zA-Z_]|\$\w+|\$\{\w+\})(?:\w|\$\w+|\$\{\w+\})*")
        .expect("a valid expression")
});

fn actions() -> String {
    Action::ALL.map(Action::as_str).join(", ")
}

// === impl RelabelConfig ===

impl RelabelConfig {
    /// Checks that the fields which the action needs are given and valid, and that no
    /// unused fields are given.
    ///
    /// # Errors
    /// Returns an error if the rule is invalid: the first problem, in Prometheus's order.
    pub fn validate(&self) -> Result<(), RelabelError> {
        match self.action {
            Action::Keep | Action::Drop => Ok(()),
            Action::Replace => self.validate_target(),
            Action::HashMod if self.modulus == 0 => Err(RelabelError::ZeroModulus),
            Action::HashMod => self.validate_target(),
            Action::Lowercase | Action::Uppercase => {
                self.validate_target()?;
                self.validate_no_replacement()
            }
            Action::KeepEqual | Action::DropEqual => {
                self.validate_target()?;
                self.validate_no_replacement()?;
                let regex = ("regex", !self.regex.is_default());
                self.validate_unused("'source_labels' and `target_label`", [regex])
            }
            Action::LabelMap => self.validate_template(&self.replacement, "replacement"),
            Action::LabelDrop | Action::LabelKeep => {
                let source = ("source_labels", !self.source_labels.is_empty());
                let target = ("target_label", !self.target_label.is_empty());
                self.validate_unused("'regex'", [source, target])
            }
        }
    }

    fn validate_target(&self) -> Result<(), RelabelError> {
        let (action, target) = (self.action, self.target_label.as_str());
        if target.is_empty() {
            return Err(RelabelError::NoTarget(action));
        }
        if action == Action::Replace && target.contains('$') {
            return self.validate_template(target, "target_label");
        }
        if !self.name_validation_scheme.is_valid_label_name(target) {
            return Err(RelabelError::InvalidName {
                name: target.to_owned(),
                field: "target_label",
                action,
                expected: "a label name of the form [a-zA-Z_][a-zA-Z0-9_]*",
            });
        }
        Ok(())
    }

    /// Checks a name that can contain references such as `$1`. A legacy name is checked
    /// without the references.
    fn validate_template(&self, name: &str, field: &'static str) -> Result<(), RelabelError> {
        let (valid, expected) = match self.name_validation_scheme {
            ValidationScheme::Utf8 => (!name.is_empty(), "a label name"),
            ValidationScheme::Legacy => (
                LEGACY_TEMPLATE.is_match(name),
                "a label name of the form [a-zA-Z_][a-zA-Z0-9_]*, in which $1, $name or ${name} \
                 may stand for letters",
            ),
        };
        if valid {
            return Ok(());
        }
        Err(RelabelError::InvalidName {
            name: name.to_owned(),
            field,
            action: self.action,
            expected,
        })
    }

    fn validate_no_replacement(&self) -> Result<(), RelabelError> {
        if self.replacement == REPLACEMENT {
            return Ok(());
        }
        Err(RelabelError::Replacement {
            action: self.action,
            replacement: self.replacement.clone(),
        })
    }

    /// Returns an error for the first of `fields` that is given. Also checks the fields that
    /// none of the restricted actions uses.
    fn validate_unused<const N: usize>(
        &self,
        allowed: &'static str,
        fields: [(&'static str, bool); N],
    ) -> Result<(), RelabelError> {
        let common = [
            ("modulus", self.modulus != 0),
            ("separator", self.separator != SEPARATOR),
            ("replacement", self.replacement != REPLACEMENT),
        ];
        match fields.into_iter().chain(common).find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => Err(RelabelError::UnusedField {
                action: self.action,
                allowed,
                field,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action) -> RelabelConfig {
        RelabelConfig {
            action,
            ..RelabelConfig::default()
        }
    }

    fn targeting(action: Action, target: &str) -> RelabelConfig {
        RelabelConfig {
            target_label: target.to_owned(),
            modulus: u64::from(action == Action::HashMod),
            ..rule(action)
        }
    }

    fn error(config: RelabelConfig) -> String {
        config.validate().expect_err("an invalid rule").to_string()
    }

    #[test]
    fn parses_actions_in_any_case() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
            assert_eq!(action.as_str().to_uppercase().parse(), Ok(action));
        }
        let unknown = "relabel".parse::<Action>().map_err(|e| e.to_string());
        let message = "unknown relabel action \"relabel\"; expected one of replace, keep, drop, \
                       keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, \
                       uppercase";
        assert_eq!(unknown, Err(message.to_owned()));
        assert_eq!("".parse::<Action>(), Err(RelabelError::EmptyAction));
    }

    #[test]
    fn accepts_actions_without_a_target() {
        for action in [
            Action::Keep,
            Action::Drop,
            Action::LabelMap,
            Action::LabelDrop,
            Action::LabelKeep,
        ] {
            assert_eq!(rule(action).validate(), Ok(()), "{action}");
        }
    }

    #[test]
    fn requires_a_target_for_other_actions() {
        for action in [
            Action::Replace,
            Action::HashMod,
            Action::Lowercase,
            Action::Uppercase,
            Action::KeepEqual,
            Action::DropEqual,
        ] {
            let missing = Err(RelabelError::NoTarget(action));
            assert_eq!(targeting(action, "").validate(), missing, "{action}");
            assert_eq!(targeting(action, "a").validate(), Ok(()), "{action}");
        }
    }

    #[test]
    fn requires_a_modulus_for_hashmod() {
        let config = RelabelConfig {
            modulus: 0,
            ..targeting(Action::HashMod, "a")
        };
        assert_eq!(config.validate(), Err(RelabelError::ZeroModulus));
    }

    #[test]
    fn checks_legacy_names_around_references() {
        for (action, target, valid) in [
            (Action::Replace, "a-b", false),
            (Action::Replace, "a${1}_$name", true),
            (Action::Replace, "${1}-$2", false),
            (Action::HashMod, "a$1", false),
            (Action::Lowercase, "a.b", false),
        ] {
            let mut config = targeting(action, target);
            assert_eq!(config.validate(), Ok(()), "{target} is UTF-8");
            config.name_validation_scheme = ValidationScheme::Legacy;
            assert_eq!(config.validate().is_ok(), valid, "{target}");
        }
        let config = RelabelConfig {
            name_validation_scheme: ValidationScheme::Legacy,
            ..targeting(Action::HashMod, "a-b")
        };
        assert_eq!(
            error(config),
            "\"a-b\" is invalid 'target_label' for hashmod action; \
             expected a label name of the form [a-zA-Z_][a-zA-Z0-9_]*"
        );
    }

    #[test]
    fn rejects_unused_fields() {
        let config = RelabelConfig {
            replacement: "x".to_owned(),
            ..targeting(Action::Uppercase, "a")
        };
        assert_eq!(
            error(config),
            "'replacement' can not be set for uppercase action; found \"x\""
        );
        let config = RelabelConfig {
            regex: Regexp::new("(.*)").expect("a valid expression"),
            ..targeting(Action::KeepEqual, "a")
        };
        assert_eq!(
            error(config),
            "keepequal action requires only 'source_labels' and `target_label`, \
             and no other fields; found 'regex'"
        );
        assert_eq!(
            error(targeting(Action::LabelDrop, "a")),
            "labeldrop action requires only 'regex', and no other fields; found 'target_label'"
        );
        let config = RelabelConfig {
            separator: String::new(),
            ..rule(Action::LabelKeep)
        };
        assert!(error(config).ends_with("found 'separator'"));
    }
}
