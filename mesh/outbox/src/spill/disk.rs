//! Storage of the log: a directory, or a fake in tests.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use bytes::Bytes;

/// A flat set of named files. Written bytes survive a crash of the process. Only synced
/// bytes survive a crash of the machine.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Lists the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for appending. Creates it if it is missing.
    fn append_to(&self, name: &str) -> io::Result<Box<dyn Append>>;

    /// Reads `len` bytes of a file.
    ///
    /// # Errors
    /// Returns `UnexpectedEof` if the file is too short.
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes>;

    /// Reads a whole file.
    fn read_all(&self, name: &str) -> io::Result<Bytes>;

    /// Overwrites the first bytes of a file. Creates it if it is missing.
    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Syncs the directory, so that created and removed names survive a crash of the
    /// machine.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file that accepts appends.
pub(crate) trait Append: fmt::Debug + Send + Sync {
    /// Appends all bytes. A failure may leave some of them in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Truncates the file to its first `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Syncs the file, so that its bytes survive a crash of the machine.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory that this process has locked.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Holds the lock while it is open.
    _lock: File,
}

const LOCK: &str = "lock";

// === impl Directory ===

impl Directory {
    /// Locks a directory. Creates it if it is missing.
    ///
    /// # Errors
    /// Returns `WouldBlock` if another process holds the lock.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn append_to(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(self.path.join(name));
        Ok(Box::new(file?))
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        File::open(self.path.join(name))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }

    fn read_all(&self, name: &str) -> io::Result<Bytes> {
        std::fs::read(self.path.join(name)).map(Bytes::from)
    }

    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        options.open(self.path.join(name))?.write_all_at(bytes, 0)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Append for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let first = Directory::open(path.clone()).unwrap();
        let error = Directory::open(path.clone()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        Directory::open(path).unwrap();
    }

    #[test]
    fn appends_after_the_truncated_end() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Directory::open(dir.path().to_owned()).unwrap();
        let mut file = disk.append_to("a").unwrap();
        file.append(b"one two").unwrap();
        file.truncate(3).unwrap();
        file.append(b", three").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read_all("a").unwrap(), "one, three");
        assert_eq!(disk.read("a", 5, 5).unwrap(), "three");
        let error = disk.read("a", 5, 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
