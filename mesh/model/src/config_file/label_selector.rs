//! The label selectors of Kubernetes, such as `app=web,tier in (a, b),!canary`.
//!
//! Accepts exactly the texts that `labels.Parse` of Kubernetes accepts. An API server refuses
//! all others, long after the file was loaded.

use super::scalar::FromText;

/// A valid label selector, as written. Empty selects all objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LabelSelector(pub(super) String);

/// Maximum length of a label value, and of the name part of a label key.
const MAX_LENGTH: usize = 63;
/// Maximum length of the prefix of a label key.
const MAX_PREFIX_LENGTH: usize = 253;

/// Symbols, longer ones before their prefixes.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// A token of a selector: a symbol such as `==` or `(`, or a word.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Symbol(&'a str),
    Word(&'a str),
    End,
}

struct Parser<'a> {
    /// Text after the next token.
    rest: &'a str,
    next: Token<'a>,
}

impl FromText for LabelSelector {
    fn from_text(text: &str) -> Result<Self, String> {
        let parsed = Parser::new(text).selector();
        match parsed {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("{text:?} is not a label selector: {error}")),
        }
    }
}

/// Checks the text form of a label selector.
///
/// # Errors
/// Returns a message for the user if Kubernetes refuses the selector.
pub fn check_label_selector(text: &str) -> Result<(), String> {
    LabelSelector::from_text(text).map(drop)
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut parser = Self {
            rest: text,
            next: Token::End,
        };
        parser.take();
        parser
    }

    /// Takes the next token and reads the one after it.
    fn take(&mut self) -> Token<'a> {
        let (next, rest) = token(self.rest);
        self.rest = rest;
        std::mem::replace(&mut self.next, next)
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let found = self.next == Token::Symbol(symbol);
        if found {
            self.take();
        }
        found
    }

    fn expected<T>(&self, expected: &str) -> Result<T, String> {
        match self.next {
            Token::Symbol(text) | Token::Word(text) => {
                Err(format!("found {text:?}, expected {expected}"))
            }
            Token::End => Err(format!("found the end, expected {expected}")),
        }
    }

    fn selector(&mut self) -> Result<(), String> {
        if self.next == Token::End {
            return Ok(());
        }
        loop {
            self.requirement()?;
            if self.next == Token::End {
                return Ok(());
            }
            if !self.takes(",") {
                return self.expected("',' or the end");
            }
        }
    }

    /// Parses a requirement for one key.
    fn requirement(&mut self) -> Result<(), String> {
        let is_negated = self.takes("!");
        let Token::Word(key) = self.next else {
            return self.expected("a label key");
        };
        check_label_key(key)?;
        self.take();
        if is_negated {
            return Ok(());
        }
        match self.next {
            Token::End | Token::Symbol(",") => Ok(()),
            Token::Word("in" | "notin") => {
                self.take();
                self.values()
            }
            Token::Symbol("=" | "==" | "!=") => {
                self.take();
                self.value()?;
                Ok(())
            }
            Token::Symbol(operator @ (">" | "<")) => {
                self.take();
                let bound = self.value()?;
                bound.parse::<i64>().map(drop).map_err(|_| {
                    format!("{bound:?} after {operator:?} is not a whole number of 64 bits")
                })
            }
            Token::Symbol(_) | Token::Word(_) => {
                self.expected("one of =, ==, !=, in, notin, >, <, ',' or the end")
            }
        }
    }

    /// Parses one value, which may be empty.
    fn value(&mut self) -> Result<&'a str, String> {
        let value = match self.next {
            Token::End | Token::Symbol(",") => return Ok(""),
            Token::Word(value) => value,
            Token::Symbol(_) => return self.expected("a value"),
        };
        check_label_value(value)?;
        self.take();
        Ok(value)
    }

    /// Parses values in parentheses, each of which may be empty.
    fn values(&mut self) -> Result<(), String> {
        if !self.takes("(") {
            return self.expected("'('");
        }
        loop {
            if let Token::Word(value) = self.next {
                check_label_value(value)?;
                self.take();
            }
            if self.takes(")") {
                return Ok(());
            }
            if !self.takes(",") {
                return self.expected("',' or ')'");
            }
        }
    }
}

/// Splits the first token from a text. A NUL ends a token or, after blanks,
/// the selector, as in Go.
fn token(text: &str) -> (Token<'_>, &str) {
    let text = text.trim_start_matches(is_blank);
    let mut symbols = SYMBOLS.into_iter();
    if let Some(symbol) = symbols.find(|symbol| text.starts_with(symbol)) {
        let rest = text.strip_prefix(symbol).unwrap_or_default();
        return (
            Token::Symbol(symbol),
            rest.strip_prefix('\0').unwrap_or(rest),
        );
    }
    let ends = |c| is_blank(c) || c == '\0' || "=!(),><".contains(c);
    let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
    let rest = rest.strip_prefix('\0').unwrap_or(rest);
    if word.is_empty() {
        (Token::End, "")
    } else {
        (Token::Word(word), rest)
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Checks a label key: an optional DNS name and `/`, then a name.
///
/// # Errors
/// Returns a message for the user if Kubernetes refuses the key.
pub fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix
        && !is_dns_name(prefix)
    {
        return Err(format!(
            "the prefix {prefix:?} of the label key {key:?} is not a DNS name in lower case"
        ));
    }
    if name.is_empty() || !is_label_text(name) {
        return Err(format!(
            "{name:?} is not the name of a label key, expected 1 to {MAX_LENGTH} of A-Z, a-z, 0-9, '-', '_', '.', with a letter or digit at both ends"
        ));
    }
    Ok(())
}

/// Checks a label value.
///
/// # Errors
/// Returns a message for the user if Kubernetes refuses the value.
pub fn check_label_value(value: &str) -> Result<(), String> {
    if is_label_text(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not a label value, expected at most {MAX_LENGTH} of A-Z, a-z, 0-9, '-', '_', '.', with a letter or digit at both ends"
    ))
}

fn is_label_text(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= MAX_LENGTH
        && text.bytes().all(is_inner)
        && has_ends(text, |b| b.is_ascii_alphanumeric())
}

fn is_dns_name(text: &str) -> bool {
    let is_outer = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| is_outer(b) || b == b'-')
            && has_ends(label, is_outer)
    };
    text.len() <= MAX_PREFIX_LENGTH && text.split('.').all(is_label)
}

/// Returns true if the first and the last byte satisfy `is_end`, or if there is none.
fn has_ends(text: &str, is_end: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_none_or(|b| is_end(*b)) && bytes.last().is_none_or(|b| is_end(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kubernetes_accepts() {
        let longest = format!("a={}", "x".repeat(63));
        for text in [
            "",
            " ",
            "app",
            "!app",
            "! app",
            "app=web",
            "app==web",
            "app != web",
            "app=",
            "app=,tier=x",
            "app in (a)",
            "app in(a,b)",
            "app notin ( a , b )",
            "app in ()",
            "app in (,)",
            "app in (a,,b)",
            "in in (in, notin)",
            "notin",
            "app=in",
            "n>5",
            "n < 07",
            "app.kubernetes.io/name=web,\ttier",
            "a_b.C-d",
            "9/9",
            longest.as_str(),
            "a\0",
            "\0!!",
        ] {
            assert!(LabelSelector::from_text(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_kubernetes_rejects() {
        let too_long = format!("a={}", "x".repeat(64));
        let long_name = "x".repeat(64);
        let long_prefix = format!("{}/x", "a.".repeat(126) + "aa");
        for text in [
            "app=t b",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a in (=)",
            "a notin",
            "!!a",
            "!",
            "!a=b",
            "a>x",
            "a>",
            "a<-5",
            "a>9223372036854775808",
            "=x",
            "a=b=c",
            "a===b",
            "a=!b",
            "a,",
            ",",
            ",a",
            "a,,b",
            "a b",
            "a/b/c",
            "/a",
            "a/",
            "A.b/c",
            "a..b/c",
            "-a",
            "a-",
            "a=-b",
            "a=b_",
            "a='b'",
            "a=ü",
            "a\u{a0}=b",
            "(a)",
            "a=(b)",
            "a\0b",
            too_long.as_str(),
            long_name.as_str(),
            long_prefix.as_str(),
        ] {
            assert!(LabelSelector::from_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn says_what_it_expected() {
        let error = |text| LabelSelector::from_text(text).unwrap_err();
        assert_eq!(
            error("app=t b"),
            r#""app=t b" is not a label selector: found "b", expected ',' or the end"#
        );
        assert_eq!(
            error("a in b"),
            r#""a in b" is not a label selector: found "b", expected '('"#
        );
    }
}
