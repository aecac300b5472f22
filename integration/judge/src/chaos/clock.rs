//! Clocks of single receivers, which Debian's `faketime` can set.

use std::path::{Path, PathBuf};

use anyhow::Context;

use stand_ins::files::replace;

const FILE: &str = "clock";

/// Environment of a process whose clock can be set.
pub(crate) fn environment(folder: &Path) -> Vec<(&'static str, String)> {
    let library = library().unwrap_or_default();
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        (
            "FAKETIME_TIMESTAMP_FILE",
            folder.join(FILE).display().to_string(),
        ),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// Sets the offset of a process's clock, in milliseconds.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub(crate) fn set(folder: &Path, offset_ms: i64) -> anyhow::Result<()> {
    let seconds = offset_ms as f64 / 1000.0;
    replace(&folder.join(FILE), &format!("{seconds:+.3}\n"))
}

/// Path of the faketime library.
///
/// # Errors
/// Returns an error if it is not installed.
pub(crate) fn library() -> anyhow::Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?;
    let paths = folders
        .flatten()
        .map(|f| f.path().join("faketime/libfaketime.so.1"));
    let mut found = paths.filter(|path| path.exists());
    found
        .next()
        .context("no faketime library; install it with: apt-get install faketime")
}
