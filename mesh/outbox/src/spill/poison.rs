//! Batches that killed exporters, kept for the operator. Each is a file with an encoded
//! `ExportMetricsServiceRequest`, which nothing sends again.

use std::io;

use super::disk::Disk;

/// A batch to keep.
#[derive(Clone, Debug)]
pub(crate) struct Poison<B> {
    /// Name of the file.
    pub(crate) name: String,
    pub(crate) body: B,
}

/// Maximum number of files. The oldest one is removed first.
pub(crate) const MAX_POISON_FILES: usize = 32;

const PREFIX: &str = "poison-";

/// Name of the file of a batch. Names sort by time.
pub(crate) fn poison_name(time_ms: i64, key: u64, seq: u64) -> String {
    format!("{PREFIX}{time_ms:015}-{key:016x}-{seq}.otlp")
}

/// Writes a batch to a file of its own.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub(crate) fn keep(disk: &dyn Disk, name: &str, payload: &[u8]) -> io::Result<()> {
    let mut kept = disk.list()?;
    kept.retain(|name| name.starts_with(PREFIX));
    kept.sort();
    let excess = (kept.len() + 1).saturating_sub(MAX_POISON_FILES);
    for oldest in &kept[..excess] {
        disk.remove(oldest)?;
    }
    let mut file = disk.append_to(name)?;
    file.truncate(0)?;
    file.append(payload)?;
    file.sync()?;
    disk.sync_directory()
}
