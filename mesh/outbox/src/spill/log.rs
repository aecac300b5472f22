//! The log: segments that are appended to, and removed once all of them is done.

mod replay;

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, atomic::Ordering},
};

use tracing::{error, warn};

use super::{
    disk::{Append, Disk},
    record::Record,
    segment::{MAGIC, Place, done_name, encode_fence, segment_name, write_done},
    stats::{Stats, Trouble},
};
pub(crate) use replay::Replay;

/// The log. All its files are written by whoever has it.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    limits: Limits,
    segments: BTreeMap<u64, Segment>,
    active: Option<Active>,
    next_segment: u64,
    /// A sync has failed. Which bytes are safe is not known then, and asking again
    /// would not tell: nothing is written any more.
    poisoned: bool,
    stats: Arc<Stats>,
}

/// Bounds of the log, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A segment that has this many is followed by another.
    pub(crate) segment: u64,
    /// All segments together.
    pub(crate) total: u64,
}

#[derive(Debug)]
struct Segment {
    bytes: u64,
    /// Records that are not done with.
    live: u64,
    /// Whole entries of its done file, in bytes, where it has one. What is behind
    /// them was torn: it is cut off before more is written.
    done_bytes: Option<u64>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    id: u64,
    file: Box<dyn Append>,
    unsynced: bool,
    /// A write has failed: where its end is cannot be trusted.
    broken: bool,
}

const FENCE: &str = "fence";

// === impl Log ===

impl Log {
    /// Takes up what is on the disk. Whatever that is, it is no reason not to
    /// start.
    pub(crate) fn open(disk: Arc<dyn Disk>, limits: Limits, stats: Arc<Stats>) -> (Self, Replay) {
        let mut log = Self {
            disk,
            limits,
            segments: BTreeMap::new(),
            active: None,
            next_segment: 0,
            poisoned: false,
            stats,
        };
        let replay = log.replay();
        log.stats.limit.store(limits.total, Ordering::Relaxed);
        let samples = replay.records.iter().map(|(_, record)| record.samples);
        log.stats.replayed.store(samples.sum(), Ordering::Relaxed);
        (log, replay)
    }

    /// Writes a record. It survives the process from now on, and the machine after
    /// the next [`Log::sync`].
    ///
    /// # Errors
    /// Where it is not written.
    pub(crate) fn append(&mut self, record: &Record) -> Result<Place, Trouble> {
        let bytes = record.encode().map_err(|error| self.write_failed(&error))?;
        let len = bytes.len() as u64;
        if self.bytes() + MAGIC.len() as u64 + len > self.limits.total {
            self.stats.count(Trouble::Full);
            return Err(Trouble::Full);
        }
        let id = self.activate(len)?;
        let active = self.active.as_mut().expect("activated");
        let segment = self.segments.get_mut(&id).expect("the active one is there");
        active.unsynced = true;
        if let Err(error) = active.file.append(&bytes) {
            // What is half written is cut off, or else ends the segment.
            active.broken = active.file.cut(segment.bytes).is_err();
            return Err(self.write_failed(&error));
        }
        let place = Place {
            segment: id,
            offset: segment.bytes,
            len: bytes.len(),
        };
        segment.bytes += len;
        segment.live += 1;
        Ok(place)
    }

    /// The segment that takes `len` bytes more: the active one, or a new one.
    fn activate(&mut self, len: u64) -> Result<u64, Trouble> {
        if self.poisoned {
            return Err(Trouble::Sync);
        }
        if let Some(active) = &self.active {
            let bytes = self.segments[&active.id].bytes;
            let is_new = bytes == MAGIC.len() as u64;
            if !active.broken && (is_new || bytes + len <= self.limits.segment) {
                return Ok(active.id);
            }
            self.sync()?;
            self.active = None;
        }
        self.begin().map_err(|error| self.write_failed(&error))
    }

    fn begin(&mut self) -> io::Result<u64> {
        let id = self.next_segment;
        let name = segment_name(id);
        let mut file = self.disk.append_to(&name)?;
        self.next_segment += 1;
        let begun = file.append(MAGIC).and_then(|()| self.disk.sync_names());
        if let Err(error) = begun {
            self.remove(&name);
            return Err(error);
        }
        let segment = Segment {
            bytes: MAGIC.len() as u64,
            live: 0,
            done_bytes: None,
        };
        self.segments.insert(id, segment);
        self.active = Some(Active {
            id,
            file,
            unsynced: true,
            broken: false,
        });
        Ok(id)
    }

    /// Makes all records survive the machine.
    ///
    /// # Errors
    /// Where that cannot be told. From then on nothing is written.
    pub(crate) fn sync(&mut self) -> Result<(), Trouble> {
        if self.poisoned {
            return Err(Trouble::Sync);
        }
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced) else {
            return Ok(());
        };
        if let Err(error) = active.file.sync() {
            self.poisoned = true;
            self.stats.count(Trouble::Sync);
            error!(%error, "Spilled batches not synced, no more are spilled");
            return Err(Trouble::Sync);
        }
        active.unsynced = false;
        Ok(())
    }

    /// Whether a sync has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Notes records that are done with, and removes segments that are.
    pub(crate) fn settle(&mut self, done: &[(u64, Place)]) {
        let mut by_segment: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (seq, place) in done {
            by_segment.entry(place.segment).or_default().push(*seq);
        }
        for (id, seqs) in by_segment {
            if let Err(error) = self.write_done(id, &seqs) {
                // They are sent again after a restart.
                self.write_failed(&error);
            }
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.live = segment.live.saturating_sub(seqs.len() as u64);
            }
        }
        self.sweep();
    }

    fn write_done(&mut self, id: u64, seqs: &[u64]) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(&id) else {
            return Ok(());
        };
        let mut entries = Vec::new();
        for seq in seqs {
            write_done(*seq, &mut entries);
        }
        let mut file = self.disk.append_to(&done_name(id))?;
        let whole = segment.done_bytes.unwrap_or(0);
        file.cut(whole)?;
        file.append(&entries)?;
        file.sync()?;
        if segment.done_bytes.is_none() {
            self.disk.sync_names()?;
        }
        segment.done_bytes = Some(whole + entries.len() as u64);
        Ok(())
    }

    /// Removes segments of which nothing is left. The done file goes last: should
    /// the machine die and show the segment again, it is still known to be done.
    fn sweep(&mut self) {
        let is_done = |id: &u64, segment: &Segment, active: &Option<Active>| {
            let is_active = active.as_ref().is_some_and(|active| active.id == *id);
            segment.live == 0 && !(is_active && segment.bytes == MAGIC.len() as u64)
        };
        let segments = self.segments.iter();
        let mut done: Vec<u64> = segments
            .filter(|(id, segment)| is_done(id, segment, &self.active))
            .map(|(id, _)| *id)
            .collect();
        self.active.take_if(|active| done.contains(&active.id));
        done.retain(|id| self.remove(&segment_name(*id)));
        if !done.is_empty()
            && let Err(error) = self.disk.sync_names()
        {
            self.write_failed(&error);
            // Their done files stay for the next process to remove.
            self.segments.retain(|id, _| !done.contains(id));
            return self.show();
        }
        for id in &done {
            self.segments.remove(id);
            self.remove(&done_name(*id));
        }
        self.show();
    }

    /// Notes until when Exports of this process may be under way.
    pub(crate) fn fence(&self, until_ms: i64) {
        if let Err(error) = self.disk.overwrite(FENCE, &encode_fence(until_ms)) {
            self.write_failed(&error);
        }
    }

    /// Whether anything of it is not done with.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.values().all(|segment| segment.live == 0)
    }

    /// Bytes of all segments.
    fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Removes a file; false where it is still there.
    fn remove(&self, name: &str) -> bool {
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.write_failed(&error);
                false
            }
            _ => true,
        }
    }

    fn show(&self) {
        self.stats.bytes.store(self.bytes(), Ordering::Relaxed);
        let segments = self.segments.len() as u64;
        self.stats.segments.store(segments, Ordering::Relaxed);
    }

    fn write_failed(&self, error: &io::Error) -> Trouble {
        let trouble = Trouble::of_write(error);
        self.trouble(trouble, error);
        trouble
    }

    fn trouble(&self, trouble: Trouble, error: &io::Error) {
        self.stats.count(trouble);
        warn!(?trouble, %error, "Spilling failed");
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("segments", &self.segments)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
