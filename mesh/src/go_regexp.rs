//! Regular expressions with the syntax and semantics of Go's `regexp`.

/// A compiled expression, anchored at both ends.
#[derive(Clone, Debug)]
pub struct Regexp {
    source: String,
}

// === impl Regexp ===

impl Regexp {
    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}
