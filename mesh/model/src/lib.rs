//! Prometheus's data model and configuration.
//!
//! - [`labels`]: label sets.
//! - [`validation`]: names of labels and metrics.
//! - [`go_regexp`]: regular expressions with Go's syntax and semantics.
//! - [`config`]: the meaning of a configuration file.
//! - [`config_file`]: reads such a file.
//! - [`flags`]: durations and sizes as values of command-line flags.
//! - [`relabel`](mod@relabel): applies relabeling rules to label sets.
//!
//! Each module uses only modules above it in this list. `flags` and `relabel` do not need
//! `config_file`. The crate reads configuration files and does no other I/O. It must not know
//! the wire formats of `mesh-wire`, nor how the services use a configuration.
//!
//! ```
//! use std::path::Path;
//!
//! use mesh_model::{config::Config, labels::Labels, relabel::relabel};
//!
//! let text = "
//! scrape_configs:
//! - job_name: node
//!   metric_relabel_configs:
//!   - {source_labels: [__name__], regex: 'go_.*', action: drop}
//! ";
//! let config = Config::parse(text, Path::new("prometheus.yml"), &|_| None)?;
//! let rules = &config.scrape_configs[0].metric_relabel_configs;
//! let series: Labels = [("__name__", "go_threads")].into_iter().collect();
//! let is_kept = relabel(rules, &mut series.to_builder());
//! assert!(!is_kept);
//! # Ok::<(), mesh_model::config::ConfigError>(())
//! ```

pub mod config;
pub mod config_file;
pub mod flags;
pub mod go_regexp;
pub mod labels;
pub mod relabel;
pub mod validation;
