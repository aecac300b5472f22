//! Scraping, against what Prometheus' own tests expect of it.

mod append;
mod options;
mod suite;
mod targets;
