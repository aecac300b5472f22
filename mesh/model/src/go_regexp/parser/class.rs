//! Parses character classes: `[a-z]`, `[^a-z]`, `[[:alpha:]]`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir};

use super::{Parser, node::Node};
use crate::go_regexp::error::SyntaxError;

/// First and last character of a range.
type Range = (char, char);

/// Maximum number of ranges in all classes of an expression together: 8 MiB of memory.
const MAX_RANGES: usize = 1 << 20;

/// Ranges of `\d` and `[[:digit:]]`.
pub(super) const DIGIT: &[Range] = &[('0', '9')];
/// Ranges of `\s`, which unlike `[[:space:]]` does not include the vertical tab.
pub(super) const PERL_SPACE: &[Range] = &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')];
/// Ranges of `\w` and `[[:word:]]`.
pub(super) const WORD: &[Range] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// Returns the ranges of the POSIX class with this name.
fn posix(name: &str) -> Option<&'static [Range]> {
    Some(match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => DIGIT,
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => WORD,
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    })
}

/// Builds a class from `ranges` and applies the flags.
pub(super) fn from_ranges(ranges: &[Range], fold: bool, negated: bool) -> ClassUnicode {
    let ranges = ranges
        .iter()
        .map(|&(from, to)| ClassUnicodeRange::new(from, to));
    finish(ClassUnicode::new(ranges), fold, negated)
}

/// Applies the flags to a class. Case folding comes before negation: `(?i)[^k]` must match
/// neither `k` nor `K`.
pub(super) fn finish(mut class: ClassUnicode, fold: bool, negated: bool) -> ClassUnicode {
    if fold {
        class
            .try_case_fold_simple()
            .expect("the tables of simple case folding are compiled in");
    }
    if negated {
        class.negate();
    }
    class
}

// === impl Parser ===

impl Parser<'_> {
    /// Adds a class.
    pub(super) fn push_class(&mut self, class: ClassUnicode) -> Result<(), SyntaxError> {
        let end = self.cursor.at();
        self.ranges += class.ranges().len();
        if self.ranges > MAX_RANGES {
            return Err(SyntaxError::new(
                "expression too large",
                end..end,
                "at most 1048576 character ranges in all classes together",
            ));
        }
        self.push(Node::leaf(Hir::class(Class::Unicode(class))), end)
    }

    /// Parses a class in brackets.
    pub(super) fn bracketed_class(&mut self) -> Result<ClassUnicode, SyntaxError> {
        let start = self.cursor.at();
        self.cursor.bump();
        let negated = self.cursor.eat("^");
        let mut class = ClassUnicode::empty();
        let mut first = true;
        // A closing bracket as the first character is literal.
        while first || !self.cursor.eat("]") {
            first = false;
            if let Some(named) = self.posix_class()? {
                class.union(&named);
            } else if let Some(escaped) = self.escaped_class()? {
                class.union(&escaped);
            } else if let Some(range) = self.range(start)? {
                class.push(range);
            }
        }
        Ok(finish(class, self.flags.fold_case, negated))
    }

    /// Parses `[:name:]` or `[:^name:]`. Returns `None` and reads nothing if something else
    /// follows.
    fn posix_class(&mut self) -> Result<Option<ClassUnicode>, SyntaxError> {
        let start = self.cursor.at();
        let mut ahead = self.cursor.clone();
        if !ahead.eat("[:") {
            return Ok(None);
        }
        let Some(name) = ahead.eat_until(":]") else {
            return Ok(None);
        };
        self.cursor = ahead;
        let negated = name.starts_with('^');
        let ranges = posix(name.strip_prefix('^').unwrap_or(name)).ok_or_else(|| {
            SyntaxError::new(
                "invalid character class range",
                self.cursor.span(start),
                "a POSIX class: alnum, alpha, ascii, blank, cntrl, digit, graph, lower, print, \
                 punct, space, upper, word or xdigit",
            )
        })?;
        Ok(Some(from_ranges(ranges, self.flags.fold_case, negated)))
    }

    /// Parses a character or a range of characters. `class` is the start of the class. Returns
    /// `None` if the range contains only surrogates.
    fn range(&mut self, class: usize) -> Result<Option<ClassUnicodeRange>, SyntaxError> {
        let start = self.cursor.at();
        let from = self.class_char(class)?;
        let mut to = from;
        let rest = self.cursor.rest();
        if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
            self.cursor.bump();
            to = self.class_char(class)?;
        }
        if to < from {
            return Err(SyntaxError::new(
                "invalid character class range",
                self.cursor.span(start),
                "the lower end first, or - as the last character of the class",
            ));
        }
        Ok(clip(from, to))
    }

    fn class_char(&mut self, class: usize) -> Result<u32, SyntaxError> {
        match self.cursor.peek() {
            None => Err(SyntaxError::new(
                "missing closing ]",
                self.cursor.span(class),
                "a ] for this [",
            )),
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.cursor.bump();
                Ok(u32::from(c))
            }
        }
    }
}

/// Removes the surrogates, which text cannot contain, from a range of code points.
fn clip(from: u32, to: u32) -> Option<ClassUnicodeRange> {
    let from = char::from_u32(from).unwrap_or('\u{e000}');
    let to = char::from_u32(to).unwrap_or('\u{d7ff}');
    (from <= to).then(|| ClassUnicodeRange::new(from, to))
}
