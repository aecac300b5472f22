//! Where the log is kept: a directory, or what a test puts in its place.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use bytes::Bytes;

/// Files by name. Unless said otherwise what is written survives the process, and
/// only what is synced survives the machine.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// All names.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A file to append to; it is made where there is none.
    fn append_to(&self, name: &str) -> io::Result<Box<dyn Append>>;

    /// A part of a file.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file is shorter.
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes>;

    /// The whole of a file.
    fn read_all(&self, name: &str) -> io::Result<Bytes>;

    /// Writes over the first bytes of a file; it is made where there is none.
    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes which files there are survive the machine.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that is appended to.
pub(crate) trait Append: fmt::Debug + Send + Sync {
    /// Appends all bytes, or fails with some of them written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to its first `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Makes its bytes survive the machine.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory that no other process uses while this one does.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

const LOCK: &str = "lock";

// === impl Directory ===

impl Directory {
    /// Takes a directory; it is made where there is none.
    ///
    /// # Errors
    /// `WouldBlock` where another process has it.
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

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Append for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
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
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spill");
        let first = Directory::open(path.clone()).unwrap();
        let error = Directory::open(path.clone()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        Directory::open(path).unwrap();
    }

    #[test]
    fn what_is_cut_is_gone_and_appending_goes_on_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Directory::open(dir.path().to_owned()).unwrap();
        let mut file = disk.append_to("a").unwrap();
        file.append(b"one two").unwrap();
        file.cut(3).unwrap();
        file.append(b", three").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read_all("a").unwrap(), "one, three");
        assert_eq!(disk.read("a", 5, 5).unwrap(), "three");
        let error = disk.read("a", 5, 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
