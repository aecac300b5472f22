//! The error of an invalid object.

use std::fmt;

/// Kind of mistake in an object. The set is small, so that it can be a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A field has a value that the schema of the resource does not allow.
    Schema,
    /// Fields exclude or need each other.
    Conflict,
    /// A relabeling rule is invalid.
    Relabeling,
    /// A Secret, a ConfigMap or a key of one is missing or not readable.
    Reference,
    /// A certificate or key is not usable.
    Tls,
    /// A field would read a file of the receiver.
    File,
    /// The named scrape class does not exist.
    ScrapeClass,
    /// The generated configuration is one that promesh does not support.
    Unsupported,
}

/// An object that no scrape configuration is generated for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// Kind of mistake.
    pub reason: Reason,
    /// Path of the field, such as `spec.endpoints[0].interval`.
    pub field: String,
    /// Description of the mistake and of the expected value.
    pub message: String,
}

// === impl Reason ===

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::Schema,
        Self::Conflict,
        Self::Relabeling,
        Self::Reference,
        Self::Tls,
        Self::File,
        Self::ScrapeClass,
        Self::Unsupported,
    ];

    /// Returns the name for metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Conflict => "conflict",
            Self::Relabeling => "relabeling",
            Self::Reference => "reference",
            Self::Tls => "tls",
            Self::File => "file",
            Self::ScrapeClass => "scrape_class",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Invalid ===

impl Invalid {
    /// Mistake in the field at `field`.
    pub fn new(reason: Reason, field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            reason,
            field: field.into(),
            message: message.to_string(),
        }
    }
}
