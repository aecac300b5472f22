//! Values that are built from files which may not exist yet.

use std::{fmt, path::PathBuf, sync::Arc};

use tracing::warn;

use crate::watched_file::WatchedFile;

/// A value like that of a [`WatchedFile`], whose files may be missing or invalid at first.
///
/// Until they are valid, each access tries again and returns the error. Afterwards the last
/// valid value stays in use.
pub struct AwaitedFile<T, E> {
    /// `None` as long as the files have never been valid.
    value: WatchedFile<Option<Arc<T>>>,
    read: Arc<dyn Fn() -> Result<T, E> + Send + Sync>,
}

// === impl AwaitedFile ===

impl<T, E> AwaitedFile<T, E>
where
    T: Send + Sync + 'static,
    E: fmt::Display + Send + 'static,
{
    /// Builds a value with `read`, and rebuilds it each time one of `files` changes. `what` is
    /// the name of the value in log lines. Must be called in a tokio runtime, unless `files` is
    /// empty.
    pub fn watch<F>(what: impl Into<Arc<str>>, files: Vec<PathBuf>, read: F) -> Self
    where
        F: Fn() -> Result<T, E> + Send + Sync + 'static,
    {
        let read: Arc<dyn Fn() -> Result<T, E> + Send + Sync> = Arc::new(read);
        let what = what.into();
        let first = read().map(Arc::new).inspect_err(|error| {
            warn!(%what, %error, "File missing or invalid, trying again when it is needed");
        });
        let value = WatchedFile::starting_with(first.ok(), what, files, {
            let read = read.clone();
            move || read().map(Arc::new).map(Some)
        });
        Self { value, read }
    }

    /// Returns the current value.
    ///
    /// # Errors
    /// Returns the error of the files if they have never been valid.
    pub fn load(&self) -> Result<Arc<T>, E> {
        match &*self.value.load() {
            Some(value) => Ok(value.clone()),
            None => (self.read)().map(Arc::new),
        }
    }
}

impl<T, E> fmt::Debug for AwaitedFile<T, E> {
    /// Omits the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitedFile")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched_file::INTERVAL;

    #[tokio::test(start_paused = true)]
    async fn takes_a_file_that_appears_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let read = {
            let path = path.clone();
            move || std::fs::read_to_string(&path).map_err(|error| error.to_string())
        };
        let value = AwaitedFile::watch("number", vec![path.clone()], read);
        assert!(value.load().is_err());
        std::fs::write(&path, "1").unwrap();
        assert_eq!(*value.load().unwrap(), "1");
        tokio::time::sleep(INTERVAL * 2).await;
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(INTERVAL * 2).await;
        assert_eq!(*value.load().unwrap(), "1");
    }
}
