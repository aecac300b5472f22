//! Programs and options of a comparison.

use std::{path::PathBuf, time::Duration};

use harness::prometheus::Program;

/// Programs and options of a comparison.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Prometheus server.
    pub prometheus: Program,
    /// Cortex that promesh writes to instead of a second Prometheus server.
    pub cortex: Option<PathBuf>,
    /// Executable whose subcommands run the services.
    pub program: PathBuf,
    /// Scrape interval.
    pub interval: Duration,
    /// Remote-write message that the exporter sends.
    pub protobuf_message: String,
}
