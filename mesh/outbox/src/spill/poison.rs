//! Batches that killed exporters, kept for the operator. Each is a file with an encoded
//! `ExportMetricsServiceRequest`, which nothing sends again.

use std::{io, sync::Arc};

use super::disk::Disk;

/// A batch that killed exporters.
#[derive(Clone, Debug)]
pub(crate) struct Poison<B> {
    /// Name of the file that keeps it, if there is a spill directory.
    pub(crate) name: String,
    /// Destination that it was for; `None` for all.
    pub(crate) destination: Option<Arc<str>>,
    pub(crate) samples: u64,
    /// Number of exporters that died.
    pub(crate) deaths: u32,
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
