//! The Prometheus configuration file, as both receiver-svc and exporter-svc read
//! it.
//!
//! One file serves both: the receiver takes `global` and `scrape_configs`, the
//! exporter `remote_write` and `otlp`, and each checks the whole of it, so that a
//! mistake is found wherever the file is read first. The types here are what a
//! file *means*: defaults filled in, `global` inherited, values checked.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::labels::Labels;

pub mod discovery;
pub mod http;
pub mod relabel;
pub mod remote_write;
pub mod scrape;

/// A whole configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    /// `global.external_labels`, with `${VAR}` expanded from the environment.
    pub external_labels: Labels,
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

/// `refresh_interval` of the discovery mechanisms that poll.
pub type RefreshInterval = Duration;

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
