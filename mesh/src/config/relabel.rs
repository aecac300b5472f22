//! `relabel_configs`, `metric_relabel_configs` and `write_relabel_configs`.

use std::{fmt, str::FromStr, sync::LazyLock};

use crate::go_regexp::Regexp;

/// What a relabeling rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets `target_label` to the expanded replacement where the regex matches.
    #[default]
    Replace,
    /// Keeps only what the regex matches.
    Keep,
    /// Drops what the regex matches.
    Drop,
    /// Keeps only where the joined source labels equal `target_label`.
    KeepEqual,
    /// Drops where the joined source labels equal `target_label`.
    DropEqual,
    /// Sets `target_label` to a hash of the joined source labels modulo `modulus`.
    HashMod,
    /// Copies each label whose name the regex matches to the expanded name.
    LabelMap,
    /// Removes each label whose name the regex matches.
    LabelDrop,
    /// Removes each label whose name the regex does not match.
    LabelKeep,
    /// Sets `target_label` to the joined source labels in lower case.
    Lowercase,
    /// Sets `target_label` to the joined source labels in upper case.
    Uppercase,
}

/// Which names are legal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValidationScheme {
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*` for metrics, the same without `:` for labels.
    Legacy,
    /// Any non-empty UTF-8.
    #[default]
    Utf8,
}

/// One relabeling rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelabelConfig {
    /// Labels whose values are joined by `separator`.
    pub source_labels: Vec<String>,
    /// `;` unless given.
    pub separator: String,
    /// The regular expression, in Go's syntax, matched against the whole value;
    /// `(.*)` unless given.
    pub regex: Regexp,
    /// Modulus of [`Action::HashMod`].
    pub modulus: u64,
    /// The label that is set; with references to groups for [`Action::Replace`].
    pub target_label: String,
    /// Template with `$1`, `${name}`; `$1` unless given.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
    /// Which label names it may write.
    pub name_validation_scheme: ValidationScheme,
}

/// A rule that could not do what it says.
///
/// The messages begin with Prometheus' own words, so that what is known about
/// those helps here too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// `action` is there but empty.
    #[error("relabel action cannot be empty; expected one of {}", Action::NAMES.join(", "))]
    EmptyAction,
    /// No such action.
    #[error("unknown relabel action {0:?}; expected one of {names}", names = Action::NAMES.join(", "))]
    UnknownAction(String),
    /// `hashmod` without a modulus.
    #[error(
        "relabel configuration for hashmod requires non-zero modulus; expected 'modulus' of 1 or more"
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

/// A label name of the legacy character set in which `$1`, `$name` and `${name}`
/// may stand for letters.
static LEGACY_TEMPLATE: LazyLock<Regexp> = LazyLock::new(|| {
    Regexp::new(r"(?:[a-zA-Z_]|\$\w+|\$\{\w+\})(?:\w|\$\w+|\$\{\w+\})*")
        .expect("a valid expression")
});

// === impl Action ===

impl Action {
    /// The names of all actions, as a configuration file has them.
    const NAMES: [&str; 11] = [
        "replace",
        "keep",
        "drop",
        "keepequal",
        "dropequal",
        "hashmod",
        "labelmap",
        "labeldrop",
        "labelkeep",
        "lowercase",
        "uppercase",
    ];

    /// The name in a configuration file.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn takes_target(self) -> bool {
        matches!(self, Self::Replace | Self::HashMod) || self.takes_plain_target()
    }

    /// Whether the target is a name rather than a template, and there is no
    /// replacement.
    fn takes_plain_target(self) -> bool {
        matches!(
            self,
            Self::Lowercase | Self::Uppercase | Self::KeepEqual | Self::DropEqual
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = RelabelError;

    /// Reads an action's name in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        const ACTIONS: [Action; 11] = [
            Action::Replace,
            Action::Keep,
            Action::Drop,
            Action::KeepEqual,
            Action::DropEqual,
            Action::HashMod,
            Action::LabelMap,
            Action::LabelDrop,
            Action::LabelKeep,
            Action::Lowercase,
            Action::Uppercase,
        ];
        if name.is_empty() {
            return Err(RelabelError::EmptyAction);
        }
        ACTIONS
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| RelabelError::UnknownAction(name.to_owned()))
    }
}

// === impl RelabelConfig ===

/// The replacement of rules that give none.
const REPLACEMENT: &str = "$1";
/// The separator of rules that give none.
const SEPARATOR: &str = ";";

impl Default for RelabelConfig {
    /// A rule without any field, as a configuration file may have it. It is not
    /// [valid](Self::validate) as such: `replace` needs a target.
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.to_owned(),
            regex: Regexp::default(),
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.to_owned(),
            action: Action::default(),
            name_validation_scheme: ValidationScheme::default(),
        }
    }
}

impl RelabelConfig {
    /// Checks that the action has the fields it needs, that they are legal, and
    /// that there are no others where it takes none.
    ///
    /// # Errors
    ///
    /// The first rule of Prometheus that is broken.
    pub fn validate(&self) -> Result<(), RelabelError> {
        let action = self.action;
        if action == Action::HashMod && self.modulus == 0 {
            return Err(RelabelError::ZeroModulus);
        }
        if action.takes_target() {
            self.validate_target()?;
        }
        if action.takes_plain_target() && self.replacement != REPLACEMENT {
            let replacement = self.replacement.clone();
            return Err(RelabelError::Replacement {
                action,
                replacement,
            });
        }
        if action == Action::LabelMap {
            self.validate_template(&self.replacement, "replacement")?;
        }
        self.validate_unused()
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

    fn validate_unused(&self) -> Result<(), RelabelError> {
        let labels_only = !self.source_labels.is_empty();
        let (allowed, given) = match self.action {
            Action::KeepEqual | Action::DropEqual => (
                "'source_labels' and `target_label`",
                [("regex", !self.regex.is_default()), ("", false)],
            ),
            Action::LabelDrop | Action::LabelKeep => (
                "'regex'",
                [
                    ("source_labels", labels_only),
                    ("target_label", !self.target_label.is_empty()),
                ],
            ),
            _ => return Ok(()),
        };
        let common = [
            ("modulus", self.modulus != 0),
            ("separator", self.separator != SEPARATOR),
            ("replacement", self.replacement != REPLACEMENT),
        ];
        match given.into_iter().chain(common).find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => Err(RelabelError::UnusedField {
                action: self.action,
                allowed,
                field,
            }),
        }
    }
}
