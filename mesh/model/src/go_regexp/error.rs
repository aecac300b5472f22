//! Why an expression was refused.

use std::ops::Range;

/// What Prometheus puts around an expression before it compiles it.
pub(super) const PREFIX: &str = "^(?s:";
/// See [`PREFIX`].
pub(super) const SUFFIX: &str = ")$";

/// An expression that Go refuses, or that would cost too much.
///
/// The message begins with Go's own words for the mistake, then says where it is
/// and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {mistake}: `{found}` at character {character}; expected {expected}")]
pub struct RegexpError {
    mistake: &'static str,
    found: String,
    character: usize,
    expected: String,
}

/// A mistake in the wrapped expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Go's words for it.
    pub(super) mistake: &'static str,
    /// The bytes of the wrapped expression that are wrong.
    pub(super) span: Range<usize>,
    /// What would be right.
    pub(super) expected: &'static str,
}

// === impl RegexpError ===

impl RegexpError {
    /// The mistake, told in terms of `source`, the expression before it was wrapped.
    pub(super) fn syntax(source: &str, error: SyntaxError) -> Self {
        let unwrapped = |at: usize| at.saturating_sub(PREFIX.len()).min(source.len());
        let (from, to) = (unwrapped(error.span.start), unwrapped(error.span.end));
        Self {
            mistake: error.mistake,
            found: shorten(&source[from..to]),
            character: source[..from].chars().count() + 1,
            expected: error.expected.to_owned(),
        }
    }

    /// The expression as a whole is larger than allowed.
    pub(super) fn too_large(source: &str, expected: String) -> Self {
        Self {
            mistake: "expression too large",
            found: shorten(source),
            character: 1,
            expected,
        }
    }

    /// Where the mistake is, in characters of the expression, the first being 1.
    pub fn character(&self) -> usize {
        self.character
    }
}

/// As much of `found` as fits in a message.
fn shorten(found: &str) -> String {
    const SHOWN: usize = 64;
    match found.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &found[..end]),
        None => found.to_owned(),
    }
}

// === impl SyntaxError ===

impl SyntaxError {
    pub(super) fn new(mistake: &'static str, span: Range<usize>, expected: &'static str) -> Self {
        Self {
            mistake,
            span,
            expected,
        }
    }
}
