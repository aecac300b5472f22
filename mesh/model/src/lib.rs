//! Prometheus's data model and configuration: labels, Go regular expressions, name validation,
//! relabeling, and the configuration file.

pub mod config;
pub mod go_regexp;
pub mod labels;
pub mod relabel;
pub mod validation;
