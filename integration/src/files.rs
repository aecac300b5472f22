//! Files that others read while they are written.

use std::path::Path;

/// Writes a file as a whole: whoever reads it sees the old one or the new one.
///
/// # Errors
/// Where it cannot be written.
pub fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(new, path)?)
}
