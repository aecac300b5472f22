//! Keys that exist in two forms: a value in the file, or the path of another file.

use crate::{
    config::{Secret, http::SecretSource},
    config_file::{
        scalar::Text,
        section::{Context, Problem, refuse},
    },
};

/// A key that counts as given unless its value is empty, as in Go.
pub(super) trait Given {
    /// Returns true if the key has a value that is not empty.
    fn is_given(&self) -> bool;
}

/// Rejects keys that name an entry of a secret provider. Prometheus parses them for programs
/// that embed it, and fails to use them itself.
pub(super) fn refuse_references<'a>(
    keys: impl IntoIterator<Item = (&'a str, bool)>,
) -> Result<(), Problem> {
    refuse(
        "there is no secret provider, use the key that ends in _file",
        keys,
    )
}

/// Returns an error if both keys are given. `names` is the description of the two keys.
pub(super) fn at_most_one(
    one: &impl Given,
    other: &impl Given,
    names: &str,
) -> Result<(), Problem> {
    if one.is_given() && other.is_given() {
        return Err(Problem::new(format!(
            "at most one of {names} must be configured"
        )));
    }
    Ok(())
}

/// Returns the source of a secret, or `None` if neither key is given.
pub(super) fn secret(
    inline: Option<Text<Secret>>,
    file: Option<String>,
    context: Context<'_>,
) -> Option<SecretSource> {
    match (inline, file.filter(|file| !file.is_empty())) {
        (Some(inline), None) => Some(SecretSource::Inline(inline.0)),
        (_, Some(file)) => Some(SecretSource::File(context.path(file))),
        (None, None) => None,
    }
}

// === impl Given ===

impl Given for Option<String> {
    fn is_given(&self) -> bool {
        self.as_ref().is_some_and(|text| !text.is_empty())
    }
}

impl Given for Option<Text<Secret>> {
    fn is_given(&self) -> bool {
        self.as_ref()
            .is_some_and(|text| !text.0.expose().is_empty())
    }
}
