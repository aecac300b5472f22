//! What makes a relabeling rule valid.

use crate::validation::ValidationScheme;
use std::sync::LazyLock;

use super::{Action, REPLACEMENT, RelabelConfig, SEPARATOR};
use crate::go_regexp::Regexp;

/// A rule that could not do what it says.
///
/// The messages begin with Prometheus' own words, so that what is known about
/// those helps here too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// `action` is there but empty.
    #[error("relabel action cannot be empty; expected one of {}", actions())]
    EmptyAction,
    /// No such action.
    #[error("unknown relabel action {0:?}; expected one of {list}", list = actions())]
    UnknownAction(String),
    /// `hashmod` without a modulus.
    #[error(
        "relabel configuration for hashmod requires non-zero modulus; \
         expected 'modulus' of 1 or more"
    )]
    ZeroModulus,
    /// The action sets or compares a label, but none is named.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(Action),
    /// A name that is not legal in the rule's validation scheme.
    #[error("{name:?} is invalid '{field}' for {action} action; expected {expected}")]
    InvalidName {
        /// What was found.
        name: String,
        /// The field it was found in.
        field: &'static str,
        /// The rule's action.
        action: Action,
        /// What is legal there.
        expected: &'static str,
    },
    /// The action has no use for a replacement.
    #[error("'replacement' can not be set for {action} action; found {replacement:?}")]
    Replacement {
        /// The rule's action.
        action: Action,
        /// What was found.
        replacement: String,
    },
    /// The action takes other fields only.
    #[error("{action} action requires only {allowed}, and no other fields; found '{field}'")]
    UnusedField {
        /// The rule's action.
        action: Action,
        /// The fields it takes.
        allowed: &'static str,
        /// A field that was given although the action does not take it.
        field: &'static str,
    },
}

/// A legacy label name in which `$1`, `$name` and `${name}` may stand for letters.
static LEGACY_TEMPLATE: LazyLock<Regexp> = LazyLock::new(|| {
    Regexp::new(r"(?:[a-zA-Z_]|\$\w+|\$\{\w+\})(?:\w|\$\w+|\$\{\w+\})*")
        .expect("a valid expression")
});

fn actions() -> String {
    Action::ALL.map(Action::as_str).join(", ")
}

// === impl RelabelConfig ===

impl RelabelConfig {
    /// Checks that the action has the fields it needs, that they are legal, and
    /// that there are no others where it takes none.
    ///
    /// # Errors
    ///
    /// The first rule of Prometheus that is broken.
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

    /// Any UTF-8 name may hold `$1` or `${1}`; a legacy one is checked around them.
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

    /// Refuses the first of `fields` that was given, and the fields that no action
    /// takes which takes only some.
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

    fn refusal(config: RelabelConfig) -> String {
        config.validate().expect_err("an invalid rule").to_string()
    }

    #[test]
    fn actions_are_read_in_any_case() {
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
    fn rules_without_a_target_need_none() {
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
    fn the_others_need_a_target() {
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
    fn hashmod_needs_a_modulus() {
        let config = RelabelConfig {
            modulus: 0,
            ..targeting(Action::HashMod, "a")
        };
        assert_eq!(config.validate(), Err(RelabelError::ZeroModulus));
    }

    #[test]
    fn legacy_names_are_checked_around_references() {
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
            refusal(config),
            "\"a-b\" is invalid 'target_label' for hashmod action; \
             expected a label name of the form [a-zA-Z_][a-zA-Z0-9_]*"
        );
    }

    #[test]
    fn fields_without_a_use_are_refused() {
        let config = RelabelConfig {
            replacement: "x".to_owned(),
            ..targeting(Action::Uppercase, "a")
        };
        assert_eq!(
            refusal(config),
            "'replacement' can not be set for uppercase action; found \"x\""
        );
        let config = RelabelConfig {
            regex: Regexp::new("(.*)").expect("a valid expression"),
            ..targeting(Action::KeepEqual, "a")
        };
        assert_eq!(
            refusal(config),
            "keepequal action requires only 'source_labels' and `target_label`, \
             and no other fields; found 'regex'"
        );
        assert_eq!(
            refusal(targeting(Action::LabelDrop, "a")),
            "labeldrop action requires only 'regex', and no other fields; found 'target_label'"
        );
        let config = RelabelConfig {
            separator: String::new(),
            ..rule(Action::LabelKeep)
        };
        assert!(refusal(config).ends_with("found 'separator'"));
    }
}
