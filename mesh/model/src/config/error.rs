//! Errors of reading a configuration.

use std::{fmt, path::Path};

use super::Place;

/// Error for a configuration file that cannot be used.
///
/// The message begins with `FILE:LINE:COLUMN`, as far as the place is known.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    place: Place,
    message: String,
}

// === impl ConfigError ===

impl ConfigError {
    /// Describes a problem in the file at `path`; `position` is its line and column.
    pub(crate) fn new(
        path: &Path,
        position: Option<(u64, u64)>,
        message: impl fmt::Display,
    ) -> Self {
        Self {
            place: Place::new(path, position),
            message: message.to_string(),
        }
    }

    /// Returns the place of the problem.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the description of the problem, without its place.
    pub fn message(&self) -> &str {
        &self.message
    }
}
