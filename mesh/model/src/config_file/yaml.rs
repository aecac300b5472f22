//! Parses YAML with limits against hostile input.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::section::Problem;
use crate::config::ConfigError;

/// Maximum number of nodes that all aliases of a file may expand to. Real files need far
/// fewer; an alias bomb needs more.
const MAX_ALIAS_EXPANSION: usize = 100_000;

/// Maximum number of consecutive comment lines.
const MAX_COMMENTS: usize = 100_000;

/// Parses the YAML `text` of the file at `path`. An empty document yields the default.
pub(super) fn parse<T: DeserializeOwned + Default>(
    text: &str,
    path: &Path,
) -> Result<T, ConfigError> {
    let mut options = serde_saphyr::Options::default();
    // A snippet could print a secret.
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = MAX_ALIAS_EXPANSION;
    // Users comment out whole sections.
    let mut budget = serde_saphyr::Budget::default();
    budget.max_buffered_comment_events = MAX_COMMENTS;
    options.budget = Some(budget);
    let parsed: Result<Option<T>, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.map(Option::unwrap_or_default).map_err(|error| {
        let problem = Problem {
            location: error.location(),
            message: without_place(&error.to_string()).to_owned(),
        };
        problem.in_file(path)
    })
}

/// Removes the place from a parser's message, since `ConfigError` prints it already.
pub(super) fn without_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}
