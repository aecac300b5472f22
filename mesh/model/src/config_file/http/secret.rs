//! Keys that exist in two forms: a value in the file, or the path of another file.

use crate::{
    config::{Secret, http::SecretSource},
    config_file::{
        scalar::Text,
        section::{Context, Problem, refuse},
    },
};

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

/// Returns an error if both keys are set. `names` is the description of the two keys.
pub(super) fn at_most_one<A, B>(
    one: &Option<A>,
    other: &Option<B>,
    names: &str,
) -> Result<(), Problem> {
    if one.is_some() && other.is_some() {
        return Err(Problem::new(format!(
            "at most one of {names} must be configured"
        )));
    }
    Ok(())
}

/// Returns the source of a secret, or `None` if neither key is set.
pub(super) fn secret(
    inline: Option<Text<Secret>>,
    file: Option<String>,
    context: Context<'_>,
) -> Option<SecretSource> {
    match (inline, file.filter(|file| !file.is_empty())) {
        (Some(inline), _) => Some(SecretSource::Inline(inline.0)),
        (None, Some(file)) => Some(SecretSource::File(context.path(file))),
        (None, None) => None,
    }
}
