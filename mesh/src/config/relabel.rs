//! `relabel_configs`, `metric_relabel_configs` and `write_relabel_configs`.

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
#[derive(Clone, Debug)]
pub struct RelabelConfig {
    /// Labels whose values are joined by `separator`.
    pub source_labels: Vec<String>,
    /// `;` unless given.
    pub separator: String,
    /// The regular expression, in Go's syntax, matched against the whole value;
    /// `(.*)` unless given.
    pub regex: crate::go_regexp::Regexp,
    /// Modulus of [`Action::HashMod`].
    pub modulus: u64,
    /// The label that is set.
    pub target_label: String,
    /// Template with `$1`, `${name}`; `$1` unless given.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
    /// Which label names it may write.
    pub name_validation_scheme: ValidationScheme,
}
