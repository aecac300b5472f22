//! A disk in memory that refuses writes, fails syncs, and forgets at a crash what
//! was not synced.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::super::{
    disk::{Append, Disk},
    segment::{Place, segment_name},
};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Faulty(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// The names that the machine would find after a crash, with what they held.
    synced_names: BTreeMap<String, File>,
    room: Option<usize>,
    fail_next_sync: bool,
}

#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// The first so many are safe.
    synced: usize,
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    Process,
    /// With a seed for what becomes of what was not synced.
    Machine(u64),
}

#[derive(Debug)]
struct Open {
    disk: Faulty,
    file: File,
}

// === impl Faulty ===

impl Faulty {
    /// How many bytes may still be written; `None` is any number.
    pub(super) fn leave_room(&self, room: Option<usize>) {
        self.state(|state| state.room = room);
    }

    pub(super) fn fail_next_sync(&self) {
        self.state(|state| state.fail_next_sync = true);
    }

    /// Whether something may fail now.
    pub(super) fn refuses(&self) -> bool {
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
        file.0.lock().unwrap().bytes = bytes.to_vec();
        self.state(|state| state.files.insert(name.to_owned(), file));
    }

    pub(super) fn flip_bit(&self, place: &Place, byte: usize, bit: u8) {
        self.state(|state| {
            let file = &state.files[&segment_name(place.segment)];
            file.0.lock().unwrap().bytes[place.offset as usize + byte] ^= 1 << bit;
        });
    }

    /// Makes everything safe.
    pub(super) fn sync_all(&self) {
        self.state(|state| {
            for file in state.files.values() {
                let mut contents = file.0.lock().unwrap();
                contents.synced = contents.bytes.len();
            }
            state.synced_names = state.files.clone();
        });
    }

    /// Dies. With the machine goes what was not synced: of each file a tail, some
    /// of which may come back as zeros, and of changes to names any.
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
                let file = match random.random() {
                    true => was,
                    false => is,
                };
                // A name that was there and is there is there.
                if let Some(file) = file.or(was.and(is)) {
                    file.tear(&mut random);
                    state.files.insert(name.clone(), file.clone());
                }
            }
        });
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }

    /// How many of `len` bytes there is room for.
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
        match self.state(|state| std::mem::take(&mut state.fail_next_sync)) {
            true => Err(io::Error::other("the disk is gone")),
            false => Ok(()),
        }
    }
}

impl Disk for Faulty {
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
        Ok(Bytes::copy_from_slice(&file.0.lock().unwrap().bytes))
    }

    fn overwrite(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.plant(name, bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.state(|state| state.files.remove(name));
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.sync()?;
        self.state(|state| state.synced_names = state.files.clone());
        Ok(())
    }
}

impl Append for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fitting = self.disk.take_room(bytes.len());
        let mut contents = self.file.0.lock().unwrap();
        contents.bytes.extend_from_slice(&bytes[..fitting]);
        match fitting == bytes.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut contents = self.file.0.lock().unwrap();
        contents.bytes.truncate(len as usize);
        contents.synced = contents.synced.min(len as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()?;
        let mut contents = self.file.0.lock().unwrap();
        contents.synced = contents.bytes.len();
        Ok(())
    }
}

// === impl File ===

impl File {
    fn len(&self) -> usize {
        self.0.lock().unwrap().bytes.len()
    }

    fn tear(&self, random: &mut StdRng) {
        let mut contents = self.0.lock().unwrap();
        let (synced, len) = (contents.synced, contents.bytes.len());
        let left = random.random_range(synced..=len);
        contents.bytes.truncate(left);
        if random.random() {
            let zeros = random.random_range(synced..=left);
            contents.bytes[zeros..].fill(0);
        }
        contents.synced = contents.bytes.len();
    }
}
