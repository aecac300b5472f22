//! `relabel_configs`, `metric_relabel_configs` and `write_relabel_configs`.

mod validate;

use std::{fmt, str::FromStr};

pub use self::validate::RelabelError;
use crate::{go_regexp::Regexp, validation::ValidationScheme};

/// Action of a relabeling rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets `target_label` to the expanded replacement if the regex matches.
    #[default]
    Replace,
    /// Drops the label set unless the regex matches.
    Keep,
    /// Drops the label set if the regex matches.
    Drop,
    /// Drops the label set unless the joined source labels equal `target_label`.
    KeepEqual,
    /// Drops the label set if the joined source labels equal `target_label`.
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

/// One relabeling rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelabelConfig {
    /// Labels whose values are joined with `separator`.
    pub source_labels: Vec<String>,
    /// Separator between the values of the source labels. Default: `;`.
    pub separator: String,
    /// Regular expression in Go's syntax that must match the whole value. Default: `(.*)`.
    pub regex: Regexp,
    /// Modulus of [`Action::HashMod`].
    pub modulus: u64,
    /// Label to set. For [`Action::Replace`] it can refer to groups, such as `$1`.
    pub target_label: String,
    /// Template that can refer to groups with `$1` or `${name}`. Default: `$1`.
    pub replacement: String,
    /// Action of the rule.
    pub action: Action,
    /// Validation scheme of the label names that the rule writes.
    pub name_validation_scheme: ValidationScheme,
}

// === impl Action ===

impl Action {
    /// All actions, in the order of error messages.
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// Returns the action's name in a configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = RelabelError;

    /// Parses an action's name, ignoring case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.is_empty() {
            return Err(RelabelError::EmptyAction);
        }
        Self::ALL
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| RelabelError::UnknownAction(name.to_owned()))
    }
}

// === impl RelabelConfig ===

/// Default replacement.
const REPLACEMENT: &str = "$1";
/// Default separator.
const SEPARATOR: &str = ";";

impl Default for RelabelConfig {
    /// Returns a rule with all defaults. It is not [valid](Self::validate), since `replace`
    /// needs a target label.
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
