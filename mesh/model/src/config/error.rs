//! Errors of reading a configuration.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Error for a configuration file that cannot be used.
///
/// The message begins with `FILE:LINE:COLUMN`, as far as the place is known.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    path: PathBuf,
    /// Line and column, both starting at 1.
    place: Option<(u64, u64)>,
    message: String,
}

// === impl ConfigError ===

impl ConfigError {
    /// Describes a problem in the file at `path`; `place` is its line and column.
    pub(crate) fn new(path: &Path, place: Option<(u64, u64)>, message: impl fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            place,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}
