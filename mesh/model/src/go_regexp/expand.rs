//! Expands templates with `$1`, `$name`, `${name}` and `$$`.
//!
//! A name is the longest run of letters, decimal digits and underscores of any script. So
//! `$1_$2` refers to a group with the name `1_`. A name of ASCII digits without a leading zero
//! is the index of a group.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

use super::Captures;

/// A reference to a group in a template.
#[derive(Debug, PartialEq, Eq)]
enum Reference<'a> {
    Index(usize),
    Name(&'a str),
}

/// Appends `template` to `out`, with its references expanded.
pub(super) fn expand(captures: &Captures<'_, '_>, mut template: &str, out: &mut String) {
    while let Some((before, after)) = template.split_once('$') {
        out.push_str(before);
        if let Some(rest) = after.strip_prefix('$') {
            out.push('$');
            template = rest;
            continue;
        }
        let Some((reference, rest)) = Reference::split(after) else {
            out.push('$');
            template = after;
            continue;
        };
        let value = match reference {
            Reference::Index(index) => captures.get(index),
            Reference::Name(name) => captures.name(name),
        };
        out.push_str(value.unwrap_or_default());
        template = rest;
    }
    out.push_str(template);
}

// === impl Reference ===

impl<'a> Reference<'a> {
    /// Splits `name` or `{name}` off the start of `text`. Returns `None` if `text` starts with
    /// neither.
    fn split(text: &'a str) -> Option<(Self, &'a str)> {
        let body = text.strip_prefix('{');
        let (name, rest) = split_name(body.unwrap_or(text))?;
        let rest = match body {
            Some(_) => rest.strip_prefix('}')?,
            None => rest,
        };
        Some((Self::new(name), rest))
    }

    fn new(name: &'a str) -> Self {
        let numeric = name.bytes().all(|byte| byte.is_ascii_digit());
        let padded = name.len() > 1 && name.starts_with('0');
        match name.parse() {
            Ok(index) if numeric && !padded => Self::Index(index),
            _ => Self::Name(name),
        }
    }
}

fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c| !is_name_char(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_name_char(c: char) -> bool {
    /// Letters and digits by Go's definition. `char::is_alphabetic` also accepts marks and
    /// letter-like numbers.
    static WORD: LazyLock<ClassUnicode> = LazyLock::new(|| {
        let hir = regex_syntax::parse(r"[\p{L}\p{Nd}]").expect("a valid class");
        match hir.into_kind() {
            HirKind::Class(Class::Unicode(class)) => class,
            _ => unreachable!("a bracketed class is a class"),
        }
    });
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    let ranges = WORD.ranges();
    let at = ranges.partition_point(|range| range.end() < c);
    ranges.get(at).is_some_and(|range| range.start() <= c)
}
