//! Reads a configuration file and the files that it names.
//!
//! `document` describes the whole file, the other modules one section each: a strict struct
//! with optional keys, and a `build` function that turns it into a type of
//! [`config`](crate::config).
//!
//! - serde rejects unknown keys.
//! - The types in `scalar` reject malformed values.
//! - The `build` functions reject invalid combinations of keys. Such an error carries the
//!   place of the list entry that they build.
//!
//! ```text
//! text ─▶ yaml ─▶ document (sections) ─▶ build ─▶ Config
//! ```

mod aws;
mod discovery;
mod document;
mod expand;
mod field_selector;
mod http;
mod label_selector;
mod relabel;
mod remote_write;
mod scalar;
mod scrape;
mod scrape_config_files;
mod section;
mod target_groups;
mod text;
mod yaml;

use std::path::Path;

pub use self::{
    field_selector::check_field_selector,
    label_selector::{check_label_key, check_label_selector, check_label_value},
    scrape_config_files::ScrapeConfigFiles,
    target_groups::{ignored_document, parse_target_groups, parse_target_groups_json},
};
use crate::config::{Config, ConfigError};

// === impl Config ===

impl Config {
    /// Reads the file at `path` and the files that it names.
    ///
    /// # Errors
    /// Returns an error with file, line and column if a file cannot be read or is invalid.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = text::read(path)?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Parses `text` as the contents of the file at `path`. `variable` returns the value of
    /// an environment variable, or `None` if the variable is not set.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use mesh_model::config::Config;
    ///
    /// let text = "scrape_configs: [{job_name: node}]";
    /// let config = Config::parse(text, Path::new("prometheus.yml"), &|_| None)?;
    /// assert_eq!(config.scrape_configs[0].metrics_path, "/metrics");
    /// # Ok::<(), mesh_model::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        Self::parse_thoroughly(text, path, variable).map_err(|mut errors| errors.swap_remove(0))
    }

    /// Reads the file at `path` like [`Config::load`].
    ///
    /// # Errors
    /// Returns the same errors as [`Config::parse_thoroughly`].
    pub fn load_thoroughly(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let text = text::read(path).map_err(|error| vec![error])?;
        Self::parse_thoroughly(&text, path, &|name| std::env::var(name).ok())
    }

    /// Parses `text` like [`Config::parse`].
    ///
    /// # Errors
    /// Returns the first syntax or type error of each file, and all other mistakes of the files:
    /// at least one.
    pub fn parse_thoroughly(
        text: &str,
        path: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        document::parse(text, path, variable)
    }
}

#[cfg(test)]
mod tests;
