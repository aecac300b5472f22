//! Parses media types like Go's `mime.ParseMediaType`. Prometheus fails a scrape if
//! that function returns an error.

use std::collections::HashMap;

/// The text is not a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    /// The type before the slash is missing.
    #[error("expected a media type, found none")]
    NoType,
    /// The type is followed by another character than a slash.
    #[error("expected `/` after the type")]
    NoSlash,
    /// The subtype after the slash is missing.
    #[error("expected a subtype after `/`")]
    NoSubtype,
    /// The subtype is followed by text that is not a parameter.
    #[error("expected `;` or the end after the subtype")]
    AfterSubtype,
    /// A parameter does not have the form `name=value`.
    #[error("expected parameters of the form `; name=value`")]
    Parameter,
    /// A parameter has two different values.
    #[error("expected one value for each parameter, found two")]
    Duplicate,
}

/// A media type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    /// Type and subtype in lower case.
    pub(super) essence: String,
    /// Parameter `version`, if it has one.
    pub(super) version: Option<String>,
}

/// Parses a media type.
pub(super) fn parse(text: &str) -> Result<MediaType, MediaTypeError> {
    let (media_type, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
    let essence = media_type.trim().to_ascii_lowercase();
    check_type(&essence)?;
    let version = parse_parameters(parameters)?.remove("version");
    Ok(MediaType { essence, version })
}

fn check_type(text: &str) -> Result<(), MediaTypeError> {
    let (main, rest) = split_token(text);
    if main.is_empty() {
        return Err(MediaTypeError::NoType);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let (sub, rest) = split_token(rest.strip_prefix('/').ok_or(MediaTypeError::NoSlash)?);
    match (sub, rest) {
        ("", _) => Err(MediaTypeError::NoSubtype),
        (_, "") => Ok(()),
        _ => Err(MediaTypeError::AfterSubtype),
    }
}

fn parse_parameters(mut text: &str) -> Result<HashMap<String, String>, MediaTypeError> {
    let mut seen = HashMap::new();
    loop {
        text = text.trim_start();
        if text.is_empty() || text.trim_end() == ";" {
            return Ok(seen);
        }
        let (name, value, rest) = split_parameter(text).ok_or(MediaTypeError::Parameter)?;
        text = rest;
        // Go accepts a repeated parameter with the same value.
        if *seen.entry(name).or_insert_with(|| value.clone()) != value {
            return Err(MediaTypeError::Duplicate);
        }
    }
}

/// Splits `; name=value` off the start of `text`.
fn split_parameter(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = split_token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(rest) => split_quoted(rest)?,
        None => match split_token(rest) {
            ("", _) => return None,
            (value, rest) => (value.to_owned(), rest),
        },
    };
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value, rest))
}

fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\r' | '\n') => return None,
            (_, '\\') => value.push(chars.next()?.1),
            (_, other) => value.push(other),
        }
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_graphic() && !r#"()<>@,;:\"/[]?="#.contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_rejects_the_same_texts_as_go() {
        let ok = |text: &str, want: &str| assert_eq!(parse(text).unwrap().essence, want, "{text}");
        let err = |text: &str, want| assert_eq!(parse(text), Err(want), "{text}");
        ok("text/plain", "text/plain");
        ok(" Text/PLAIN ;version=0.0.4", "text/plain");
        ok("text/plain; ", "text/plain");
        ok("text/plain; a=b; A=b", "text/plain");
        ok(r#"text/plain; a="b; \"c"; d=e"#, "text/plain");
        ok(r#"text/plain; a="""#, "text/plain");
        ok("text", "text");
        err("", MediaTypeError::NoType);
        err("/plain", MediaTypeError::NoType);
        err("text plain", MediaTypeError::NoSlash);
        err("text/", MediaTypeError::NoSubtype);
        err("text/plain/x", MediaTypeError::AfterSubtype);
        err("text/plain; a", MediaTypeError::Parameter);
        err("text/plain; a=", MediaTypeError::Parameter);
        err("text/plain; =b", MediaTypeError::Parameter);
        err("text/plain; a=b c", MediaTypeError::Parameter);
        err(r#"text/plain; a="b"#, MediaTypeError::Parameter);
        err("text/plain; a=b; a=c", MediaTypeError::Duplicate);
    }
}
