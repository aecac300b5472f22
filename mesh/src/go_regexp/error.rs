//! Why an expression was refused.

/// An expression that Go refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct RegexpError {
    message: String,
}

// === impl RegexpError ===

impl RegexpError {
    pub(super) fn new(message: String) -> Self {
        Self { message }
    }
}
