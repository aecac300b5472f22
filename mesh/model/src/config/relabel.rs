//! `relabel_configs`, `metric_relabel_configs` and `write_relabel_configs`.

use crate::validation::ValidationScheme;
use std::{fmt, str::FromStr};

use crate::go_regexp::Regexp;

mod validate;

pub use self::validate::RelabelError;

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

// === impl Action ===

impl Action {
    /// All of them.
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

    /// The name in a configuration file.
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

    /// Reads an action's name in any case.
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
