//! Reads YAML and JSON.

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

use crate::MigrateError;

/// Reads all documents of a file.
pub(crate) fn documents(text: &str, name: &str) -> Result<Vec<Value>, MigrateError> {
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| syntax(name, &error))
}

/// Reads one value.
pub(crate) fn value(text: &str, name: &str) -> Result<Value, MigrateError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| syntax(name, &error))
}

/// Reads a configuration that is a text within a file. An error has the line of the file.
pub(crate) fn embedded(text: &str, file: &str, name: &str) -> Result<Value, MigrateError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error: serde_saphyr::Error| {
        let inner = error.location().map(|location| location.line() as usize);
        let content = inner.and_then(|line| text.lines().nth(line.saturating_sub(1)));
        let outer = content.and_then(|content| {
            let mut lines = file.lines();
            lines.position(|line| line.trim() == content.trim())
        });
        let message = first_line(&error);
        let line = outer.map_or_else(|| "?".to_owned(), |line| (line + 1).to_string());
        let content = content.unwrap_or_default().trim();
        let hint = template_hint(text);
        let message =
            format!("line {line}, {content:?}, of an embedded configuration: {message}{hint}");
        MigrateError::Syntax {
            name: name.to_owned(),
            message,
        }
    })
}

/// Takes the last value of a key that stands twice, as most readers of these files do.
fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    options
}

fn syntax(name: &str, error: &serde_saphyr::Error) -> MigrateError {
    let line = error.location().map_or(0, |location| location.line());
    let message = format!("line {line}: {}", first_line(error));
    MigrateError::Syntax {
        name: name.to_owned(),
        message,
    }
}

fn first_line(error: &serde_saphyr::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn template_hint(text: &str) -> &'static str {
    if text.contains("{{") {
        "; the file is a template ({{ }}): render it first"
    } else {
        ""
    }
}
