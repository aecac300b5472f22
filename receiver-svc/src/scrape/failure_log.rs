//! `scrape_failure_log_file`: a line of JSON for each failed scrape.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use mesh::telemetry::timestamp;
use serde_json::json;
use tracing::warn;

/// Appends failed scrapes to a file. A reload opens it anew, so that it can be
/// rotated.
#[derive(Debug)]
pub(crate) struct FailureLog {
    file: File,
    path: PathBuf,
}

/// The file cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("scrape_failure_log_file {}: {source}", .path.display())]
pub struct FailureLogError {
    path: PathBuf,
    source: io::Error,
}

// === impl FailureLog ===

impl FailureLog {
    /// Opens the file, which is created where it is not there.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, FailureLogError> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(FailureLogError { path, source }),
        }
    }

    /// Appends a line with the keys of Prometheus' log. One write: jobs may share
    /// the file.
    pub(crate) fn append(&self, job: &str, target: &str, error: &dyn std::error::Error) {
        let line = json!({
            "time": timestamp(),
            "level": "ERROR",
            "msg": error.to_string(),
            "job_name": job,
            "target": target,
        });
        if let Err(error) = (&self.file).write_all(format!("{line}\n").as_bytes()) {
            warn!(path = %self.path.display(), %error, "Failed scrape not logged");
        }
    }
}
