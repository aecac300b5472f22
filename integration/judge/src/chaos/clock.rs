//! Clocks of receivers that can be set, by Debian's `faketime`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use stand_ins::files::replace;

const FILE: &str = "clock";

/// What a process is started with whose clock can be set.
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

/// Lets the clock of a process be wrong by so many milliseconds.
///
/// # Errors
/// Where that cannot be written.
pub(crate) fn set(folder: &Path, wrong_ms: i64) -> anyhow::Result<()> {
    let seconds = wrong_ms as f64 / 1000.0;
    replace(&folder.join(FILE), &format!("{seconds:+.3}\n"))
}

/// Where the library is.
///
/// # Errors
/// Where it is not installed.
pub(crate) fn library() -> anyhow::Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?;
    let paths = folders
        .flatten()
        .map(|f| f.path().join("faketime/libfaketime.so.1"));
    let mut found = paths.filter(|path| path.exists());
    found
        .next()
        .context("clocks are set by Debian's faketime: apt-get install faketime")
}
