//! The meaning of a Prometheus configuration file, as the receiver and the exporter use it.
//!
//! Both services read the same file. The receiver uses `global` and `scrape_configs`, the
//! exporter `remote_write` and `otlp`. Each checks the whole file, so every mistake is found
//! by the service that reads the file first.
//!
//! The types here are the result: defaults are filled in, `global` is inherited, values are
//! checked. [`config_file`](crate::config_file) builds them from YAML.

use std::path::PathBuf;

use crate::labels::Labels;

pub mod discovery;
pub mod duration;
mod error;
pub mod http;
mod place;
pub mod relabel;
pub mod remote_write;
pub mod scrape;
mod secret;
pub mod size;

pub use self::{
    error::ConfigError,
    http::Params,
    place::{ConfigWarning, Place, Places},
    secret::{Secret, redacted},
};

/// Minimum severity of log lines, as the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `debug`.
    Debug,
    /// `info`.
    Info,
    /// `warn`.
    Warn,
    /// `error`.
    Error,
}

/// A whole configuration file.
#[derive(Clone, Debug)]
pub struct Config {
    /// `global.external_labels`, with `${VAR}` expanded from the environment.
    pub external_labels: Labels,
    /// Names in `global.external_labels` whose value expanded to an empty string. They are
    /// not part of `external_labels`.
    pub empty_external_labels: Vec<String>,
    /// `scrape_configs`, including those of `scrape_config_files`, with `global` inherited.
    pub scrape_configs: Vec<scrape::ScrapeConfig>,
    /// `remote_write`.
    pub remote_write: Vec<remote_write::RemoteWriteConfig>,
    /// `otlp`.
    pub otlp: remote_write::OtlpConfig,
    /// `runtime.log_level`. Replaces the level that the process was started with.
    pub log_level: Option<LogLevel>,
    /// Sections of the file that promesh accepts but does not use, such as `rule_files`.
    pub ignored_sections: Vec<String>,
    /// Paths of all files that were read, for reloads and messages.
    pub sources: Vec<PathBuf>,
    /// Places of the entries, for messages.
    pub places: Places,
    /// Probable mistakes that Prometheus accepts without a message.
    pub warnings: Vec<ConfigWarning>,
}
