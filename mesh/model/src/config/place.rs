//! Places in configuration files, for messages.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

/// A place in a configuration file. Displays as `FILE:LINE:COLUMN`, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    /// Line and column, both starting at 1.
    position: Option<(u64, u64)>,
}

/// Places of the entries of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Entries of `scrape_configs` by job name.
    pub jobs: HashMap<String, Place>,
    /// Entries of `remote_write` by name.
    pub destinations: HashMap<String, Place>,
    /// Values of `global.external_labels` by label name.
    pub external_labels: HashMap<String, Place>,
}

/// A probable mistake in a configuration file that can be used nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// Place of the mistake.
    pub place: Place,
    /// Description of the mistake and of what to do.
    pub message: String,
}

// === impl Place ===

impl Place {
    /// Describes a line and a column, both starting at 1, of the file at `path`.
    pub(crate) fn new(path: &Path, position: Option<(u64, u64)>) -> Self {
        Self {
            file: path.to_owned(),
            position,
        }
    }

    /// Returns the path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns line and column, both starting at 1, if they are known.
    pub fn position(&self) -> Option<(u64, u64)> {
        self.position
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        Ok(())
    }
}

// === impl ConfigWarning ===

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
