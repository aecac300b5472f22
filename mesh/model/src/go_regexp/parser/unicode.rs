//! Parses Unicode classes: `\pL`, `\p{Greek}`, `\P{Lu}`, `\p{^Lu}`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::{Parser, class};
use crate::go_regexp::error::SyntaxError;

/// Scripts whose full names have four letters. All other four-letter names are ISO 15924 codes
/// such as `Grek`, which Go rejects.
const FOUR_LETTER_SCRIPTS: [&str; 9] = [
    "ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto",
];

// === impl Parser ===

impl Parser<'_> {
    /// Parses a class that begins with `\p` or `\P`.
    pub(super) fn unicode_class(&mut self) -> Result<ClassUnicode, SyntaxError> {
        let start = self.cursor.at();
        self.cursor.bump();
        let mut negated = self.cursor.bump() == Some('P');
        let name = self.unicode_name();
        let positive = name.map(|name| name.strip_prefix('^').unwrap_or(name));
        negated ^= name != positive;
        let class = positive.and_then(lookup).ok_or_else(|| {
            SyntaxError::new(
                "invalid character class range",
                self.cursor.span(start),
                "a Unicode category or script, such as \\pL, \\p{Lu}, \\p{Letter} or \\p{Greek}",
            )
        })?;
        Ok(class::finish(class, self.flags.fold_case, negated))
    }

    /// Parses a name of one character, or a name in braces.
    fn unicode_name(&mut self) -> Option<&str> {
        let start = self.cursor.at();
        if !self.cursor.eat("{") {
            self.cursor.bump()?;
            return Some(self.cursor.since(start));
        }
        let name = self.cursor.eat_until("}");
        if name.is_none() {
            self.cursor.eat_rest();
        }
        name
    }
}

/// Returns the category or script with this name. Ignores case, `_`, `-` and spaces.
fn lookup(name: &str) -> Option<ClassUnicode> {
    let name: String = name
        .chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    // regex-syntax ignores these parts of a name, Go does not.
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) || name.starts_with("is") {
        return None;
    }
    match name.as_str() {
        "" => None,
        "any" => Some(class::from_ranges(&[('\0', char::MAX)], false, false)),
        "ascii" => Some(class::from_ranges(&[('\0', '\x7f')], false, false)),
        // The surrogates, which text cannot contain.
        "cs" | "surrogate" => Some(ClassUnicode::new(Vec::<ClassUnicodeRange>::new())),
        "assigned" => {
            property("gc", "unassigned").map(|unassigned| class::finish(unassigned, false, true))
        }
        name => property("gc", name).or_else(|| script(name)),
    }
}

fn script(name: &str) -> Option<ClassUnicode> {
    let code = name.len() == 4 && !FOUR_LETTER_SCRIPTS.contains(&name);
    if code { None } else { property("sc", name) }
}

/// Returns the characters whose `property` has this value.
fn property(property: &str, value: &str) -> Option<ClassUnicode> {
    let hir = regex_syntax::parse(&format!(r"\p{{{property}={value}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // regex-syntax turns a class of one character into a literal.
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(class::from_ranges(&[(c, c)], false, false))
        }
        _ => None,
    }
}
