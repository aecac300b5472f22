//! The Prometheus configuration file, as both receiver-svc and exporter-svc read
//! it.
//!
//! One file serves both: the receiver takes `global` and `scrape_configs`, the
//! exporter `remote_write` and `otlp`, and each checks the whole of it, so that a
//! mistake is found wherever the file is read first. The types here are what a
//! file *means*: defaults filled in, `global` inherited, values checked.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use crate::labels::Labels;

pub mod discovery;
pub mod duration;
mod expand;
pub mod http;
pub mod relabel;
pub mod remote_write;
pub mod scrape;
pub mod size;
mod yaml;

/// A whole configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    /// `global.external_labels`, with `${VAR}` expanded from the environment.
    pub external_labels: Labels,
    /// Names in `global.external_labels` whose value expanded to nothing, which
    /// makes them no labels.
    pub empty_external_labels: Vec<String>,
    /// `scrape_configs` and what `scrape_config_files` adds, `global` inherited.
    pub scrape_configs: Vec<scrape::ScrapeConfig>,
    /// `remote_write`.
    pub remote_write: Vec<remote_write::RemoteWriteConfig>,
    /// `otlp`.
    pub otlp: remote_write::OtlpConfig,
    /// Sections that were accepted but belong to others (`rule_files`, …).
    pub ignored_sections: Vec<String>,
    /// The files it was read from, for reloading and for messages.
    pub sources: Vec<PathBuf>,
}

/// A secret: never printed, by `Debug` or otherwise.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

/// HTTP query parameters by name, in the order they are sent.
pub type Params = BTreeMap<String, Vec<String>>;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    path: PathBuf,
    place: Option<(u64, u64)>,
    message: String,
}

// === impl Config ===

impl Config {
    /// Reads the file at `path` and the files it names.
    ///
    /// # Errors
    /// Where a file cannot be read or does not mean anything, with file, line and
    /// column.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::unreadable(path, e))?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Reads `text` as if it stood in the file at `path`; `variable` answers what
    /// environment variables are set to.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        yaml::file::load(text, path, variable)
    }
}

// === impl ConfigError ===

impl ConfigError {
    fn in_file(path: &Path, problem: yaml::Problem) -> Self {
        let place = problem.location.map(|at| (at.line(), at.column()));
        Self {
            path: path.to_owned(),
            place: place.filter(|(line, _)| *line > 0),
            message: problem.message,
        }
    }

    fn unreadable(path: &Path, error: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            place: None,
            message: error.to_string(),
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

// === impl Secret ===

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for those who send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests;
