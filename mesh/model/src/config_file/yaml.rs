//! Parses YAML as Go's YAML library does, with limits against hostile input.
//!
//! ```text
//! text ─▶ serde-saphyr (events) ─▶ Go (values) ─▶ structs of the sections
//!                    └─ errors ─▶ message ─▶ ConfigError
//! ```

mod budget;
mod further_document;
mod go;
mod message;

use std::path::Path;

use serde::Deserialize;
use serde_saphyr::{
    Budget as Events, NonFiniteFloatPolicy, Options, with_deserializer_from_str_with_options,
};

use self::{budget::Budget, go::Go};
pub(super) use self::{further_document::ignored_document, message::without_place};
use super::section::Problem;
use crate::config::ConfigError;

/// Number of events that aliases of any file may expand to.
const MIN_ALIAS_EVENTS: usize = 400_000;

/// Parses the first YAML document in `text`, the content of the file at `path`. An empty
/// document yields the default. As in Go, what follows the first document is not read.
pub(super) fn parse<'de, T: Deserialize<'de> + Default>(
    text: &'de str,
    path: &Path,
) -> Result<T, ConfigError> {
    let budget = Budget::of(text);
    let mut first = None;
    let parsed = with_deserializer_from_str_with_options(text, options(text), |document| {
        first = Option::<T>::deserialize(Go::new(document, &budget))?;
        // `None` is the value of an empty document, so success needs a sign of its own.
        budget.finish();
        Ok(())
    });
    match parsed {
        Err(error) if !budget.is_finished() => {
            let problem = Problem::new(message::of(&error));
            let problem = match error.location() {
                Some(location) => problem.at(location),
                None => problem,
            };
            Err(problem.in_file(path))
        }
        _ => Ok(first.unwrap_or_default()),
    }
}

/// Options of the parser.
///
/// The size of the text is limited before it is parsed. So the parser's own limits, which count
/// events, nodes and comments, are lifted. The limits of aliases grow with the text, since
/// only aliases can make a small text large.
fn options(text: &str) -> Options {
    let alias_events = MIN_ALIAS_EVENTS.max(text.len());
    let mut events = Events::default();
    events.max_events = usize::MAX;
    events.max_nodes = usize::MAX;
    events.max_total_scalar_bytes = usize::MAX;
    events.max_aliases = usize::MAX;
    events.max_anchors = usize::MAX;
    events.max_merge_keys = usize::MAX;
    events.max_documents = usize::MAX;
    events.max_recorded_anchor_events = alias_events;
    // A list of targets uses the same labels for thousands of groups.
    events.enforce_alias_anchor_ratio = false;
    let mut options = Options::default();
    options.budget = Some(events);
    options.alias_limits.max_total_replayed_events = alias_events;
    options.emit_comments = false;
    options.legacy_octal_numbers = true;
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    // A snippet could print a secret.
    options.with_snippet = false;
    options
}

#[cfg(test)]
mod tests;
