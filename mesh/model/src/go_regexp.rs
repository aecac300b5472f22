//! Regular expressions with the syntax and semantics of Go's `regexp`.
//!
//! Prometheus compiles the expression of a relabeling rule as `^(?s:RE)$`, in Go's RE2
//! dialect. The dialect of the `regex` crate differs: in Go `\d` is ASCII, `[a&&b]` is a plain
//! set, `a{1001}` and `a**` are errors, and `\Q..\E` quotes. So the `regex` crate must not
//! parse a rule.
//!
//! This module parses the same wrapped text by Go's rules into a [`regex_syntax::hir::Hir`],
//! which `regex-automata` compiles. A match takes tens of nanoseconds, so there are no special
//! cases for literals or prefixes.
//!
//! ```
//! use mesh_model::go_regexp::Regexp;
//!
//! let regexp: Regexp = "([^:]+)(?::\\d+)?".parse()?;
//! let captures = regexp.captures("node1:9100").expect("a match");
//! let mut host = String::new();
//! captures.expand("${1}:443", &mut host);
//! assert_eq!(host, "node1:443");
//! # Ok::<(), mesh_model::go_regexp::RegexpError>(())
//! ```

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use regex_automata::{Input, meta, util::primitives::NonMaxUsize};

mod error;
mod expand;
mod parser;

pub use self::error::RegexpError;
use self::parser::Parsed;

/// Default expression of relabeling rules.
static DEFAULT: LazyLock<Regexp> =
    LazyLock::new(|| Regexp::new("(.*)").expect("the default expression is valid"));

/// Maximum length of an expression in bytes.
const MAX_SOURCE: usize = 1 << 20;
/// Maximum size of a compiled automaton in bytes.
const MAX_PROGRAM: usize = 64 << 20;

/// A compiled expression, anchored at both ends. Cheap to clone.
#[derive(Clone)]
pub struct Regexp(Arc<Program>);

struct Program {
    source: String,
    regex: meta::Regex,
    /// Name of each group. Group 0 is the whole match.
    groups: Vec<Option<String>>,
}

/// The groups of one match.
#[derive(Clone, Debug)]
pub struct Captures<'r, 't> {
    groups: &'r [Option<String>],
    text: &'t str,
    slots: Vec<Option<NonMaxUsize>>,
}

// === impl Regexp ===

impl Regexp {
    /// Compiles `^(?s:source)$`, as Prometheus does.
    ///
    /// # Errors
    /// Returns an error if Go rejects the expression. Also returns an error if it is longer
    /// than 1 MiB, nests deeper than 100 levels, or needs an automaton of more than 64 MiB.
    pub fn new(source: &str) -> Result<Self, RegexpError> {
        if source.len() > MAX_SOURCE {
            let expected = format!("at most {MAX_SOURCE} bytes");
            return Err(RegexpError::too_large(source, expected));
        }
        let wrapped = format!("{}{source}{}", error::PREFIX, error::SUFFIX);
        let Parsed { hir, groups } =
            parser::parse(&wrapped).map_err(|error| RegexpError::syntax(source, error))?;
        let regex = meta::Builder::new()
            .configure(meta::Config::new().nfa_size_limit(Some(MAX_PROGRAM)))
            .build_from_hir(&hir)
            .map_err(|_| {
                let expected = format!("a program of at most {MAX_PROGRAM} bytes");
                RegexpError::too_large(source, expected)
            })?;
        Ok(Self(Arc::new(Program {
            source: source.to_owned(),
            regex,
            groups,
        })))
    }

    /// Returns the expression as written, without the wrapper.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Returns true if this is [`Regexp::default`]. Returns false for an explicit expression,
    /// even if its text is the same.
    pub fn is_default(&self) -> bool {
        Arc::ptr_eq(&self.0, &DEFAULT.0)
    }

    /// Returns true if the whole `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.regex.is_match(text)
    }

    /// Returns the groups of the first match in `text`, or `None` without a match.
    pub fn captures<'r, 't>(&'r self, text: &'t str) -> Option<Captures<'r, 't>> {
        self.captures_from(text, 0)
    }

    fn captures_from<'r, 't>(&'r self, text: &'t str, start: usize) -> Option<Captures<'r, 't>> {
        if start > text.len() {
            return None;
        }
        let program = &*self.0;
        let mut slots = vec![None; program.groups.len() * 2];
        let input = Input::new(text).range(start..);
        program.regex.search_slots(&input, &mut slots)?;
        Some(Captures {
            groups: &program.groups,
            text,
            slots,
        })
    }

    /// Replaces each match in `text` with the expanded `template`. Returns `None` without a
    /// match.
    ///
    /// An expression such as `a)|(b` escapes from its anchors. So a match can be a part of
    /// `text`, and there can be several.
    pub fn replace_all(&self, text: &str, template: &str) -> Option<String> {
        let mut replaced = None;
        let (mut copied, mut from) = (0, 0);
        while let Some(captures) = self.captures_from(text, from) {
            let out: &mut String = replaced.get_or_insert_default();
            let (start, end) = captures.span();
            out.push_str(&text[copied..start]);
            // An empty match directly after another match does not count.
            if end > copied || start == 0 {
                captures.expand(template, out);
            }
            copied = end;
            let step = text[from..].chars().next().map_or(1, char::len_utf8);
            from = end.max(from + step);
        }
        replaced.map(|out| out + &text[copied..])
    }
}

impl Default for Regexp {
    /// Returns the expression `(.*)`.
    fn default() -> Self {
        DEFAULT.clone()
    }
}

impl FromStr for Regexp {
    type Err = RegexpError;

    fn from_str(source: &str) -> Result<Self, Self::Err> {
        Self::new(source)
    }
}

impl PartialEq for Regexp {
    /// Compares the texts of the expressions.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Regexp {}

impl Hash for Regexp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Regexp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regexp({:?})", self.as_str())
    }
}

impl fmt::Display for Regexp {
    /// Writes the expression as written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Captures ===

impl<'t> Captures<'_, 't> {
    /// Returns the start and the end of the whole match, in bytes.
    fn span(&self) -> (usize, usize) {
        let slot = |index: usize| self.slots[index].map_or(0, NonMaxUsize::get);
        (slot(0), slot(1))
    }

    /// Returns the text of the group `index`; group 0 is the whole match. Returns `None` if
    /// there is no such group, or if the group did not participate in the match.
    pub fn get(&self, index: usize) -> Option<&'t str> {
        let start = index.checked_mul(2)?;
        let (from, to) = (self.slots.get(start)?, self.slots.get(start + 1)?);
        Some(&self.text[from.as_ref()?.get()..to.as_ref()?.get()])
    }

    /// Returns the text of the group with this name. If several groups have the name, returns
    /// the first that participated in the match.
    pub fn name(&self, name: &str) -> Option<&'t str> {
        let has_name = |group: &Option<String>| group.as_deref() == Some(name);
        (0..self.groups.len())
            .filter(|&index| has_name(&self.groups[index]))
            .find_map(|index| self.get(index))
    }

    /// Appends `template` to `out`. Replaces `$1`, `$name` and `${name}` with the text of the
    /// group, and `$$` with `$`.
    ///
    /// A group that is unknown or did not participate expands to an empty string. Any other
    /// `$` is literal.
    pub fn expand(&self, template: &str, out: &mut String) {
        expand::expand(self, template, out);
    }
}

#[cfg(test)]
mod tests;
