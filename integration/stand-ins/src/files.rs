//! Writes files that other processes read at the same time.

use std::path::Path;

/// Replaces a file atomically: a reader sees the old content or the new content.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(new, path)?)
}
