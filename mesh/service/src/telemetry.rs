//! Logging of a service.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter,
    fmt::{self, time::SystemTime},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

/// Silences kube's own logs of failed attempts, since our watches log failures once.
const QUIET: &str = "kube_runtime=error,kube_client=error";

/// Settings of the log, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Minimum severity of log lines: error, warn, info, debug or trace. Also accepts a
    /// filter such as `info,mesh::balance=debug`.
    #[arg(long = "log.level", env = "PROMESH_LOG_LEVEL", default_value = "info")]
    pub level: String,

    /// Format of log lines.
    #[arg(
        long = "log.format",
        env = "PROMESH_LOG_FORMAT",
        default_value = "auto"
    )]
    pub format: LogFormat,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// The log level is invalid.
#[derive(Debug, thiserror::Error)]
#[error("--log.level={level}: not a level or filter: {source}")]
pub struct LogError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Formats the current time as in log lines: RFC 3339, in UTC.
pub fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

// === impl LogArgs ===

impl LogArgs {
    /// Installs the log subscriber of the process, which writes to standard error.
    ///
    /// # Errors
    /// Returns an error if the level is invalid.
    pub fn init(&self) -> Result<(), LogError> {
        self.init_with(SystemTime)
    }

    /// Installs the log subscriber with another clock than the system's.
    ///
    /// # Errors
    /// Returns an error if the level is invalid.
    pub fn init_with<T>(&self, time: T) -> Result<(), LogError>
    where
        T: FormatTime + Send + Sync + 'static,
    {
        let filter = format!("{QUIET},{}", self.level);
        let filter = EnvFilter::try_new(filter).map_err(|source| LogError {
            level: self.level.clone(),
            source,
        })?;
        let json = match self.format {
            LogFormat::Auto => !std::io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let registry = tracing_subscriber::registry().with(filter);
        // A second call, as tests make, leaves the first subscriber in place.
        let layer = fmt::layer().with_timer(time).with_writer(std::io::stderr);
        let _ = if json {
            registry.with(layer.json().flatten_event(true)).try_init()
        } else {
            registry.with(layer).try_init()
        };
        Ok(())
    }
}
