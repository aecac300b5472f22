//! A disk in memory that rejects writes, fails syncs, and loses unsynced bytes in a crash.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::super::{
    disk::{Append, Disk},
    segment::{Location, segment_name},
};

/// A disk in memory. Clones share the same files.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// Names and files that survive a crash of the machine.
    synced_names: BTreeMap<String, File>,
    room: Option<usize>,
    fail_next_sync: bool,
}

#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// Number of leading bytes that are synced.
    synced: usize,
}

/// Scope of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Process,
    /// Has a random seed for the fate of unsynced bytes.
    Machine(u64),
}

#[derive(Debug)]
struct Open {
    disk: FaultyDisk,
    file: File,
}

// === impl FaultyDisk ===

impl FaultyDisk {
    /// Limits the bytes that can still be written; `None` removes the limit.
    pub(super) fn leave_room(&self, room: Option<usize>) {
        self.state(|state| state.room = room);
    }

    pub(super) fn fail_next_sync(&self) {
        self.state(|state| state.fail_next_sync = true);
    }

    /// Returns true if an operation may fail now.
    pub(super) fn may_fail(&self) -> bool {
        self.state(|state| state.room.is_some() || state.fail_next_sync)
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.state(|state| {
            let segments = state.files.iter().filter(|(n, _)| n.ends_with(".segment"));
            segments.map(|(_, file)| file.len() as u64).sum()
        })
    }

    pub(super) fn names(&self, extension: &str) -> Vec<String> {
        let names = self.list().unwrap().into_iter();
        names.filter(|name| name.ends_with(extension)).collect()
    }

    pub(super) fn plant(&self, name: &str, bytes: &[u8]) {
        let file = File::default();
        file.0.lock().bytes = bytes.to_vec();
        self.state(|state| state.files.insert(name.to_owned(), file));
    }

    pub(super) fn flip_bit(&self, location: &Location, byte: usize, bit: u8) {
        self.state(|state| {
            let file = &state.files[&segment_name(location.segment)];
            file.0.lock().bytes[location.offset as usize + byte] ^= 1 << bit;
        });
    }

    /// Syncs all files and names.
    pub(super) fn sync_all(&self) {
        self.state(|state| {
            for file in state.files.values() {
                let mut contents = file.0.lock();
                contents.synced = contents.bytes.len();
            }
            state.synced_names = state.files.clone();
        });
    }

    /// Crashes. A crash of the machine loses an unsynced tail of each file, or returns a part
    /// of it as zeros, and loses any unsynced changes of names.
    pub(super) fn crash(&self, crash: Crash) {
        let Crash::Machine(seed) = crash else {
            return;
        };
        let mut random = StdRng::seed_from_u64(seed);
        self.state(|state| {
            let before = std::mem::take(&mut state.synced_names);
            let now = std::mem::take(&mut state.files);
            let mut names: Vec<_> = before.keys().chain(now.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (was, is) = (before.get(name), now.get(name));
                let file = if random.random() { was } else { is };
                // A name that exists before and after an unsynced change survives.
                if let Some(file) = file.or(was.and(is)) {
                    file.tear(&mut random);
                    state.files.insert(name.clone(), file.clone());
                }
            }
        });
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.0.lock())
    }

    /// Takes room for up to `len` bytes, and returns how many fit.
    fn take_room(&self, len: usize) -> usize {
        self.state(|state| match &mut state.room {
            None => len,
            Some(room) => {
                let taken = len.min(*room);
                *room -= taken;
                taken
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        if self.state(|state| std::mem::take(&mut state.fail_next_sync)) {
            Err(io::Error::other("the disk is gone"))
        } else {
            Ok(())
        }
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state(|state| state.files.keys().cloned().collect()))
    }

    fn append_to(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let file = self.state(|state| state.files.entry(name.to_owned()).or_default().clone());
        let disk = self.clone();
        Ok(Box::new(Open { disk, file }))
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Bytes> {
        let bytes = self.read_all(name)?;
        let offset = offset as usize;
        if offset + len > bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes.slice(offset..offset + len))
    }

    fn read_all(&self, name: &str) -> io::Result<Bytes> {
        let file = self.state(|state| state.files.get(name).cloned());
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(Bytes::copy_from_slice(&file.0.lock().bytes))
    }

    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.plant(name, bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.state(|state| state.files.remove(name));
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.sync()?;
        self.state(|state| state.synced_names = state.files.clone());
        Ok(())
    }
}

impl Append for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fitting = self.disk.take_room(bytes.len());
        let mut contents = self.file.0.lock();
        contents.bytes.extend_from_slice(&bytes[..fitting]);
        if fitting == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut contents = self.file.0.lock();
        contents.bytes.truncate(len as usize);
        contents.synced = contents.synced.min(len as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()?;
        let mut contents = self.file.0.lock();
        contents.synced = contents.bytes.len();
        Ok(())
    }
}

// === impl File ===

impl File {
    fn len(&self) -> usize {
        self.0.lock().bytes.len()
    }

    fn tear(&self, random: &mut StdRng) {
        let mut contents = self.0.lock();
        let (synced, len) = (contents.synced, contents.bytes.len());
        let kept = random.random_range(synced..=len);
        contents.bytes.truncate(kept);
        if random.random() {
            let zeros = random.random_range(synced..=kept);
            contents.bytes[zeros..].fill(0);
        }
        contents.synced = contents.bytes.len();
    }
}
