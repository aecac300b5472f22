//! Errors for invalid expressions.

use std::ops::Range;

/// Prefix that Prometheus adds to an expression before it compiles it.
pub(super) const PREFIX: &str = "^(?s:";
/// Suffix that Prometheus adds to an expression before it compiles it.
pub(super) const SUFFIX: &str = ")$";

/// Error for an expression that Go rejects or that exceeds a limit.
///
/// The message begins with that of Go, followed by the place and the expected syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {mistake}: `{found}` at character {character}; expected {expected}")]
pub struct RegexpError {
    mistake: &'static str,
    found: String,
    character: usize,
    expected: String,
}

/// A syntax error in the wrapped expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Go's message.
    pub(super) mistake: &'static str,
    /// Byte range of the mistake in the wrapped expression.
    pub(super) span: Range<usize>,
    /// Description of valid syntax at that place.
    pub(super) expected: &'static str,
}

// === impl RegexpError ===

impl RegexpError {
    /// Converts a syntax error of the wrapped expression into one of `source`, the expression
    /// as written.
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

    /// Returns the error for an expression that exceeds a limit.
    pub(super) fn too_large(source: &str, expected: String) -> Self {
        Self {
            mistake: "expression too large",
            found: shorten(source),
            character: 1,
            expected,
        }
    }

    /// Returns the position of the mistake in characters, starting at 1.
    pub fn character(&self) -> usize {
        self.character
    }
}

/// Truncates `found` to 64 characters.
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
