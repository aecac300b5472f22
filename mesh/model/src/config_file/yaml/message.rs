//! Messages for the user, in place of those of the YAML parser, which address programmers.

use serde_saphyr::{Error, budget::BudgetBreach};

/// Ending of the keys of discovery mechanisms.
const MECHANISM: &str = "_sd_configs";
const SUPPORTED: &str = "static_configs, file_sd_configs, http_sd_configs, dns_sd_configs, kubernetes_sd_configs, ec2_sd_configs, ecs_sd_configs, msk_sd_configs, aws_sd_configs";

/// Describes an error without its place.
pub(super) fn of(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => of(error),
        Error::Message { msg, .. } => without_place(msg).to_owned(),
        Error::ExternalMessage { msg, .. } => format!("not valid YAML: {}", without_place(msg)),
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_key(field, expected),
        Error::SerdeMissingField { field, .. } => format!("{field} is missing"),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => format!("found {unexpected}, expected {}", plain(expected)),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("key {key:?} is given twice, remove one"),
            None => "a key is given twice, remove one".to_owned(),
        },
        Error::Unexpected { expected, .. } => format!("expected {}", plain(expected)),
        Error::InvalidScalar { ty, .. } => format!("expected {}", plain(ty)),
        Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            "the tag does not fit a text, remove it or quote the value".to_owned()
        }
        Error::InvalidBinaryBase64 { .. } => "the value of !!binary is not base64".to_owned(),
        Error::BinaryNotUtf8 { .. } => "the value of !!binary is not UTF-8".to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            "expected a mapping or a list of mappings after <<".to_owned()
        }
        Error::UnknownAnchor { .. } => "the alias names an anchor that does not exist".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "the alias refers to the value that contains it".to_owned()
        }
        Error::Eof { .. } => "the file ends here, expected a value".to_owned(),
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => "lists and mappings are nested too deeply".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the aliases of the file expand to too many values, repeat fewer anchors".to_owned()
        }
        _ => "not valid YAML".to_owned(),
    }
}

/// Removes the place from a parser's message, since `ConfigError` prints it already.
pub(in crate::config_file) fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

/// Describes a key that does not exist, and the key that was probably meant.
fn unknown_key(key: &str, known: &[&str]) -> String {
    if let Some(mechanism) = key.strip_suffix(MECHANISM) {
        return unknown_mechanism(mechanism, known);
    }
    match known.iter().min_by_key(|known| distance(key, known)) {
        Some(near) if distance(key, near) <= 2 => {
            format!("unknown key {key:?}, did you mean {near:?}?")
        }
        _ => format!("unknown key {key:?}, expected one of {}", known.join(", ")),
    }
}

/// Describes a discovery mechanism that does not exist. The names are short, so most of a name
/// has to be right to be a misspelt one.
fn unknown_mechanism(mechanism: &str, known: &[&str]) -> String {
    let mut names = known.iter().filter_map(|key| key.strip_suffix(MECHANISM));
    let is_near = |name: &&str| distance(mechanism, name) <= (mechanism.len() / 3).min(2);
    match names.find(is_near) {
        Some(near) => {
            format!("unknown key \"{mechanism}{MECHANISM}\", did you mean \"{near}{MECHANISM}\"?")
        }
        None => format!(
            "{mechanism}{MECHANISM}: neither Prometheus nor promesh has this discovery mechanism; use one of {SUPPORTED}"
        ),
    }
}

/// Number of characters to insert, delete or replace to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// Names a kind of value in plain words.
fn plain(expected: &str) -> String {
    match expected {
        "sequence start" | "a sequence" => "a list".to_owned(),
        "mapping start" | "a map" => "a mapping, lines of KEY: VALUE".to_owned(),
        "string scalar" | "scalar" | "value" | "single YAML node" | "a string" => {
            "a single value".to_owned()
        }
        other if other.starts_with("struct ") => "a mapping, lines of KEY: VALUE".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => {
            format!("a whole number that fits {expected}")
        }
        other => other.to_owned(),
    }
}
