//! Regular expressions with the syntax and semantics of Go's `regexp`.
//!
//! Relabeling rules are written for Prometheus, which compiles `^(?s:RE)$` with
//! Go's RE2 dialect. It differs from that of the `regex` crate in what it accepts
//! and in what it means (`\d` is ASCII, `[a&&b]` is a plain set, `a{1001}` and
//! `a**` are errors, `\Q..\E` quotes), so that a rule must not be handed to the
//! latter as text. Here the same wrapped text is parsed with Go's rules into the
//! tree ([`regex_syntax::hir::Hir`]) that `regex-automata` compiles. That tells in
//! tens of nanoseconds whether a rule matches, so that there are no other ways to
//! match beside it.
//!
//! ```
//! use mesh::go_regexp::Regexp;
//!
//! let regexp: Regexp = "([^:]+)(?::\\d+)?".parse()?;
//! let captures = regexp.captures("node1:9100").expect("a match");
//! let mut host = String::new();
//! captures.expand("${1}:443", &mut host);
//! assert_eq!(host, "node1:443");
//! # Ok::<(), mesh::go_regexp::RegexpError>(())
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

/// The expression of rules that give none.
static DEFAULT: LazyLock<Regexp> =
    LazyLock::new(|| Regexp::new("(.*)").expect("the default expression is valid"));

/// Bytes an expression may have.
const MAX_SOURCE: usize = 1 << 20;
/// Bytes its automaton may have.
const MAX_PROGRAM: usize = 64 << 20;

/// A compiled expression, anchored at both ends. Cheap to clone.
#[derive(Clone)]
pub struct Regexp(Arc<Program>);

struct Program {
    source: String,
    regex: meta::Regex,
    /// Name of each group, the whole match first.
    groups: Vec<Option<String>>,
}

/// What the groups of one match matched.
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
    ///
    /// Where Go refuses the expression; where it has more than 1 MiB, nests deeper
    /// than 100 levels, or its automaton would need more than 64 MiB.
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

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Whether this is [`Regexp::default`] itself, rather than an expression that
    /// was given, be it the same.
    pub fn is_default(&self) -> bool {
        Arc::ptr_eq(&self.0, &DEFAULT.0)
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.regex.is_match(text)
    }

    /// The groups of the first match in `text`, or `None` where there is none.
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

    /// `text` with each match replaced by the expanded `template`, or `None` where
    /// there is none.
    ///
    /// An expression such as `a)|(b` undoes the anchors it is wrapped in, so that a
    /// match need not be all of `text`, nor the only one.
    pub fn replace_all(&self, text: &str, template: &str) -> Option<String> {
        let mut replaced = None;
        let (mut copied, mut from) = (0, 0);
        while let Some(captures) = self.captures_from(text, from) {
            let out: &mut String = replaced.get_or_insert_default();
            let (start, end) = captures.span();
            out.push_str(&text[copied..start]);
            // An empty match right behind another match does not count.
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
    /// `(.*)`.
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
    /// Two expressions are equal where their texts are.
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
    /// The expression as written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Captures ===

impl<'t> Captures<'_, 't> {
    /// Where the match begins and ends.
    fn span(&self) -> (usize, usize) {
        let slot = |index: usize| self.slots[index].map_or(0, NonMaxUsize::get);
        (slot(0), slot(1))
    }

    /// What group `index` matched, the whole match being group 0. `None` where
    /// there is no such group or it took no part in the match.
    pub fn get(&self, index: usize) -> Option<&'t str> {
        let start = index.checked_mul(2)?;
        let (from, to) = (self.slots.get(start)?, self.slots.get(start + 1)?);
        Some(&self.text[from.as_ref()?.get()..to.as_ref()?.get()])
    }

    /// What the group called `name` matched; of several so called the first that
    /// took part.
    pub fn name(&self, name: &str) -> Option<&'t str> {
        let called = |group: &Option<String>| group.as_deref() == Some(name);
        (0..self.groups.len())
            .filter(|&index| called(&self.groups[index]))
            .find_map(|index| self.get(index))
    }

    /// Appends `template` to `out` with `$1`, `$name` and `${name}` replaced by
    /// what these groups matched and `$$` by `$`.
    ///
    /// A group that is unknown or took no part is replaced by nothing. A `$` that
    /// starts none of these forms stays as it is.
    pub fn expand(&self, template: &str, out: &mut String) {
        expand::expand(self, template, out);
    }
}

#[cfg(test)]
mod tests;
