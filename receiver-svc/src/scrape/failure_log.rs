//! `scrape_failure_log_file`: one line of JSON per failed scrape.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use mesh_service::telemetry::timestamp;
use serde_json::json;
use tracing::warn;

/// Log file of failed scrapes. A reload reopens it, so that it can be rotated.
#[derive(Debug)]
pub(crate) struct FailureLog {
    file: File,
    path: PathBuf,
}

/// Failure log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("scrape_failure_log_file {}: {source}", .path.display())]
pub struct FailureLogError {
    path: PathBuf,
    source: io::Error,
}

// === impl FailureLog ===

impl FailureLog {
    /// Opens the file. Creates it if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, FailureLogError> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(FailureLogError { path, source }),
        }
    }

    /// Appends a line with the keys of Prometheus' log.
    ///
    /// It uses a single write, as jobs may share the file.
    pub(crate) fn append(&self, job: &str, target: &str, error: &dyn std::error::Error) {
        let line = json!({
            "time": timestamp(),
            "level": "ERROR",
            "msg": error.to_string(),
            "job_name": job,
            "target": target,
        });
        if let Err(error) = (&self.file).write_all(format!("{line}\n").as_bytes()) {
            warn!(path = %self.path.display(), %error, "Failed to write to scrape failure log");
        }
    }
}
