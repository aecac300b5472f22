//! Values made of files, made again when a file has changed.
//!
//! Secrets and certificates are replaced on disk while a service runs: a mounted
//! Kubernetes secret swaps a symbolic link, other tools write in place. What
//! counts is the contents, so they are compared, every few seconds; a change that
//! cannot be used is logged and leaves the value that was there.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::task::AbortHandle;
use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3;

/// How often the files are looked at.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// A value made of files. Cheap to clone; the files are followed until the last
/// clone is dropped.
pub struct WatchedFile<T> {
    current: Arc<ArcSwap<T>>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(AbortHandle);

// === impl WatchedFile ===

impl<T: Send + Sync + 'static> WatchedFile<T> {
    /// Makes a value with `read`, and again each time one of `files` has changed.
    /// `what` names it in the log.
    ///
    /// # Errors
    /// Where the first reading fails.
    pub fn follow<E, F>(what: &'static str, files: Vec<PathBuf>, read: F) -> Result<Self, E>
    where
        E: fmt::Display + Send,
        F: Fn() -> Result<T, E> + Send + 'static,
    {
        // Taken first: a change between the two is seen as one.
        let mut seen = fingerprint(&files);
        let current = Arc::new(ArcSwap::from_pointee(read()?));
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
                        info!(what, "File reread");
                    }
                    Err(error) => warn!(what, %error, "File not usable, the old contents stay"),
                }
                seen = now;
            }
        });
        Ok(Self {
            current,
            _task: Arc::new(Task(task.abort_handle())),
        })
    }

    /// The value by now.
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
    /// Says nothing of the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedFile")
    }
}

// === impl Task ===

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the files hold, in a number. They are small and hot in the cache, so that
/// reading them blocks for microseconds.
fn fingerprint(files: &[PathBuf]) -> u128 {
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
    async fn a_changed_file_is_read_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let read = {
            let path = path.clone();
            move || number(&path)
        };
        let value = WatchedFile::follow("number", vec![path.clone()], read).unwrap();
        assert_eq!(*value.load(), 1);
        for (text, expected) in [("2", 2), ("nonsense", 2), ("3", 3)] {
            // As Kubernetes does it: another file takes the name.
            let aside = folder.path().join("aside");
            std::fs::write(&aside, text).unwrap();
            std::fs::rename(&aside, &path).unwrap();
            tokio::time::sleep(INTERVAL * 2).await;
            assert_eq!(*value.load(), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_first_reading_that_fails_is_told() {
        let missing = PathBuf::from("/nowhere/number");
        let path = missing.clone();
        let value = WatchedFile::follow("number", vec![missing], move || number(&path));
        assert!(value.is_err());
    }
}
