//! Values that are built from files and rebuilt when a file changes.
//!
//! Secrets and certificates are replaced on disk while a service runs. Kubernetes swaps a
//! symbolic link, other tools write in place. So the contents are compared, every 5 s. If
//! the new contents are invalid, the previous value remains and a warning is logged.
//!
//! Three kinds of files are not watched this way. The configuration names further files, so
//! `mesh-service` follows it. The HTTP client reads the secret files of a
//! request on each request, as Prometheus does. `file_sd` watches folders, since its
//! patterns also match files that do not exist yet.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3;

/// Interval at which the files are compared: 5 s.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// A value that is built from files. Cheap to clone. The files are watched until the last
/// clone is dropped.
pub struct WatchedFile<T> {
    current: Arc<ArcSwap<T>>,
    /// Task that watches the files, if there are any.
    _task: Option<Arc<AbortOnDropHandle<()>>>,
}

// === impl WatchedFile ===

impl<T: Send + Sync + 'static> WatchedFile<T> {
    /// Builds a value with `read`, and rebuilds it each time one of `files` changes.
    /// `what` is the name of the value in log lines. Must be called in a tokio runtime,
    /// unless `files` is empty.
    ///
    /// # Errors
    /// Returns the error of `read` if the first call fails.
    pub fn watch<E, F>(what: impl Into<Arc<str>>, files: Vec<PathBuf>, read: F) -> Result<Self, E>
    where
        E: fmt::Display + Send,
        F: Fn() -> Result<T, E> + Send + 'static,
    {
        // Before `read`, so that a change in between is noticed.
        let seen = fingerprint(&files);
        Ok(Self::changing(read()?, what.into(), files, seen, read))
    }

    /// Starts with `value`, and reads the files as soon as they are there.
    pub(crate) fn starting_with<E, F>(
        value: T,
        what: Arc<str>,
        files: Vec<PathBuf>,
        read: F,
    ) -> Self
    where
        E: fmt::Display + Send,
        F: Fn() -> Result<T, E> + Send + 'static,
    {
        let seen = fingerprint(&files);
        Self::changing(value, what, files, seen, read)
    }

    /// Replaces `value` each time the files differ from `seen`.
    fn changing<E, F>(
        value: T,
        what: Arc<str>,
        files: Vec<PathBuf>,
        mut seen: u128,
        read: F,
    ) -> Self
    where
        E: fmt::Display + Send,
        F: Fn() -> Result<T, E> + Send + 'static,
    {
        let current = Arc::new(ArcSwap::from_pointee(value));
        if files.is_empty() {
            return Self {
                current,
                _task: None,
            };
        }
        let slot = current.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let now = fingerprint(&files);
                if now == seen {
                    continue;
                }
                match read() {
                    Ok(value) => {
                        slot.store(Arc::new(value));
                        info!(%what, "File reloaded");
                    }
                    Err(error) => {
                        warn!(%what, %error, "File invalid, keeping the previous contents")
                    }
                }
                seen = now;
            }
        });
        Self {
            current,
            _task: Some(Arc::new(AbortOnDropHandle::new(task))),
        }
    }

    /// Returns the current value.
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }
}

impl<T> Clone for WatchedFile<T> {
    fn clone(&self) -> Self {
        Self {
            current: self.current.clone(),
            _task: self._task.clone(),
        }
    }
}

impl<T> fmt::Debug for WatchedFile<T> {
    /// Omits the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedFile")
    }
}

/// Returns a hash of the files' contents, and of the errors of those that cannot be read. The files are small and in the page cache, so
/// reading them blocks for microseconds only.
pub fn fingerprint(files: &[PathBuf]) -> u128 {
    let mut hasher = Xxh3::new();
    for file in files {
        match std::fs::read(file) {
            Ok(bytes) => {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(&bytes);
            }
            Err(error) => hasher.update(error.to_string().as_bytes()),
        }
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(path: &std::path::Path) -> Result<u32, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        text.trim().parse().map_err(|_| format!("{text:?}"))
    }

    #[tokio::test(start_paused = true)]
    async fn reloads_a_changed_file_and_ignores_an_invalid_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let read = {
            let path = path.clone();
            move || number(&path)
        };
        let value = WatchedFile::watch("number", vec![path.clone()], read).unwrap();
        assert_eq!(*value.load(), 1);
        for (text, expected) in [("2", 2), ("nonsense", 2), ("3", 3)] {
            // Replaced by a rename, as Kubernetes does.
            let aside = folder.path().join("aside");
            std::fs::write(&aside, text).unwrap();
            std::fs::rename(&aside, &path).unwrap();
            tokio::time::sleep(INTERVAL * 2).await;
            assert_eq!(*value.load(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn returns_the_error_of_the_first_read() {
        let missing = PathBuf::from("/nowhere/number");
        let path = missing.clone();
        let value = WatchedFile::watch("number", vec![missing], move || number(&path));
        assert!(value.is_err());
    }
}
