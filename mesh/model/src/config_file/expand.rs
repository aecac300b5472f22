//! Expands `${VAR}` in `external_labels`, the only place where Prometheus expands variables.

/// Replaces `$VAR` and `${VAR}` with the value of `variable`, and `$$` with `$`.
///
/// Invalid syntax such as `${}` is dropped, as in Go.
pub(super) fn expand(text: &str, mut variable: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let (name, after) = name(rest);
        match name {
            // A dollar without a name after it is literal.
            Some("") if after.len() == rest.len() => out.push('$'),
            Some("$") => out.push('$'),
            Some(name) => out.push_str(&variable(name)),
            None => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Splits `text`, which follows a dollar, into the variable's name and the rest. The name is
/// `None` for invalid syntax.
fn name(text: &str) -> (Option<&str>, &str) {
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.find('}') {
            Some(0) => (None, &braced[1..]),
            Some(end) => (Some(&braced[..end]), &braced[end + 1..]),
            None => (None, braced),
        };
    }
    let special = |c: char| "*#$@!?-".contains(c) || c.is_ascii_digit();
    if text.starts_with(special) {
        return (Some(&text[..1]), &text[1..]);
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (Some(&text[..end]), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn expands_variables_as_go_does() {
        let variable = |name: &str| match name {
            "TEST" => "value".to_owned(),
            _ => String::new(),
        };
        for (text, expanded) in [
            ("plain", "plain"),
            ("${TEST}", "value"),
            ("$TEST-x", "value-x"),
            ("foo${TEST}bar", "foovaluebar"),
            ("foo$$bar", "foo$bar"),
            ("foo$${TEST}", "foo${TEST}"),
            ("${UNSET}", ""),
            ("${}x", "x"),
            ("a$", "a$"),
            ("a$ b", "a$ b"),
            ("${TEST", "TEST"),
        ] {
            assert_eq!(expand(text, variable), expanded, "{text}");
        }
    }
}
