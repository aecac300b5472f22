//! The log: append-only segments. A segment is removed when all its records are done.

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
    segment::{
        Done, Location, MAGIC, done_name, encode_fence, partly_name, segment_name, write_done,
        write_partly,
    },
    stats::{SpillError, SpillStats},
};
pub(crate) use replay::Replay;

/// The log of spilled batches. It is the only writer of its files.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    limits: Limits,
    segments: BTreeMap<u64, Segment>,
    active: Option<Active>,
    next_segment: u64,
    /// Set after a failed sync. A second sync cannot tell which bytes are safe, so nothing
    /// is written any more.
    is_poisoned: bool,
    stats: Arc<SpillStats>,
}

/// Limits of the log, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Size at which a new segment begins.
    pub(crate) segment: u64,
    /// Total size of all segments.
    pub(crate) total: u64,
}

#[derive(Debug)]
struct Segment {
    bytes: u64,
    /// Number of records that are not done.
    live: u64,
    /// Bytes of complete entries in the done file, if there is one. A torn rest is
    /// truncated before the next write.
    done_bytes: Option<u64>,
    /// The same of the partly-done file.
    partly_bytes: Option<u64>,
}

/// The segment that receives appends.
#[derive(Debug)]
struct Active {
    id: u64,
    file: Box<dyn Append>,
    is_unsynced: bool,
    /// Set after a failed write, since the end of the file is then unknown.
    is_broken: bool,
}

const FENCE: &str = "fence";

// === impl Log ===

impl Log {
    /// Opens the log and replays its records. Damaged files are skipped.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        limits: Limits,
        stats: Arc<SpillStats>,
    ) -> (Self, Replay) {
        let mut log = Self {
            disk,
            limits,
            segments: BTreeMap::new(),
            active: None,
            next_segment: 0,
            is_poisoned: false,
            stats,
        };
        let replay = log.replay();
        log.stats.limit.store(limits.total, Ordering::Relaxed);
        let samples = replay.records.iter().map(|(_, record)| record.samples);
        log.stats.replayed.store(samples.sum(), Ordering::Relaxed);
        (log, replay)
    }

    /// Appends a record. It survives a crash of the process at once, and a crash of the
    /// machine after the next [`Log::sync`].
    ///
    /// # Errors
    /// Returns an error if the record is not written.
    pub(crate) fn append(&mut self, record: &Record) -> Result<Location, SpillError> {
        let bytes = record.encode().map_err(|error| self.write_failed(&error))?;
        let len = bytes.len() as u64;
        if self.bytes() + MAGIC.len() as u64 + len > self.limits.total {
            self.stats.count(SpillError::LogFull);
            return Err(SpillError::LogFull);
        }
        let id = self.segment_for(len)?;
        let active = self
            .active
            .as_mut()
            .expect("segment_for activates a segment");
        let segment = self
            .segments
            .get_mut(&id)
            .expect("the active segment exists");
        active.is_unsynced = true;
        if let Err(error) = active.file.append(&bytes) {
            // Truncates a partial record. If that fails, the segment receives no more.
            active.is_broken = active.file.truncate(segment.bytes).is_err();
            return Err(self.write_failed(&error));
        }
        let location = Location {
            segment: id,
            offset: segment.bytes,
            len: bytes.len(),
        };
        segment.bytes += len;
        segment.live += 1;
        Ok(location)
    }

    /// Returns the segment for `len` more bytes: the active one, or a new one.
    fn segment_for(&mut self, len: u64) -> Result<u64, SpillError> {
        if self.is_poisoned {
            return Err(SpillError::Sync);
        }
        if let Some(active) = &self.active {
            let bytes = self.segments[&active.id].bytes;
            let is_new = bytes == MAGIC.len() as u64;
            if !active.is_broken && (is_new || bytes + len <= self.limits.segment) {
                return Ok(active.id);
            }
            self.sync()?;
            self.active = None;
        }
        self.create_segment()
            .map_err(|error| self.write_failed(&error))
    }

    fn create_segment(&mut self) -> io::Result<u64> {
        let id = self.next_segment;
        let name = segment_name(id);
        let mut file = self.disk.append_to(&name)?;
        self.next_segment += 1;
        let created = file.append(MAGIC).and_then(|()| self.disk.sync_directory());
        if let Err(error) = created {
            self.remove(&name);
            return Err(error);
        }
        let segment = Segment {
            bytes: MAGIC.len() as u64,
            live: 0,
            done_bytes: None,
            partly_bytes: None,
        };
        self.segments.insert(id, segment);
        self.active = Some(Active {
            id,
            file,
            is_unsynced: true,
            is_broken: false,
        });
        Ok(id)
    }

    /// Syncs all records, so that they survive a crash of the machine.
    ///
    /// # Errors
    /// Returns an error if a sync has failed. The log then accepts no more records.
    pub(crate) fn sync(&mut self) -> Result<(), SpillError> {
        if self.is_poisoned {
            return Err(SpillError::Sync);
        }
        let Some(active) = self.active.as_mut().filter(|active| active.is_unsynced) else {
            return Ok(());
        };
        if let Err(error) = active.file.sync() {
            self.is_poisoned = true;
            self.stats.count(SpillError::Sync);
            error!(%error, "Syncing spilled batches failed, no more batches are spilled");
            return Err(SpillError::Sync);
        }
        active.is_unsynced = false;
        Ok(())
    }

    /// Returns true if a sync has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Records batches as done, and removes segments without pending records.
    pub(crate) fn mark_done(&mut self, done: &[Done]) {
        let mut by_segment: BTreeMap<u64, Vec<&Done>> = BTreeMap::new();
        for it in done {
            by_segment.entry(it.location.segment).or_default().push(it);
        }
        for (id, done) in by_segment {
            if let Err(error) = self.write_done(id, &done) {
                // The batches are sent again after a restart.
                self.write_failed(&error);
            }
            let whole = done.iter().filter(|it| it.destination.is_none()).count();
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.live = segment.live.saturating_sub(whole as u64);
            }
        }
        self.sweep();
    }

    fn write_done(&mut self, id: u64, done: &[&Done]) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(&id) else {
            return Ok(());
        };
        let (mut whole, mut partly) = (Vec::new(), Vec::new());
        for it in done {
            match it.destination {
                None => write_done(it.seq, &mut whole),
                Some(destination) => write_partly(it.seq, destination, &mut partly),
            }
        }
        let disk = &*self.disk;
        append_entries(disk, &partly_name(id), &mut segment.partly_bytes, &partly)?;
        append_entries(disk, &done_name(id), &mut segment.done_bytes, &whole)
    }

    /// Removes segments without pending records. The done file is removed last: if a crash
    /// of the machine brings the segment back, its records are still known to be done.
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
            && let Err(error) = self.disk.sync_directory()
        {
            self.write_failed(&error);
            // The next process removes the done files.
            self.segments.retain(|id, _| !done.contains(id));
            return self.update_stats();
        }
        for id in &done {
            self.segments.remove(id);
            self.remove(&done_name(*id));
            self.remove(&partly_name(*id));
        }
        self.update_stats();
    }

    /// Writes the time until which Exports of this process may be in flight.
    pub(crate) fn write_fence(&self, until_ms: i64) {
        if let Err(error) = self.disk.overwrite(FENCE, &encode_fence(until_ms)) {
            self.write_failed(&error);
        }
    }

    /// Returns true if no record is pending.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.values().all(|segment| segment.live == 0)
    }

    /// Returns the total size of all segments in bytes.
    fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Removes a file. Returns false if it still exists.
    fn remove(&self, name: &str) -> bool {
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.write_failed(&error);
                false
            }
            _ => true,
        }
    }

    fn update_stats(&self) {
        self.stats.bytes.store(self.bytes(), Ordering::Relaxed);
        let segments = self.segments.len() as u64;
        self.stats.segments.store(segments, Ordering::Relaxed);
    }

    fn write_failed(&self, error: &io::Error) -> SpillError {
        let reason = SpillError::of_write(error);
        self.record_error(reason, error);
        reason
    }

    fn record_error(&self, reason: SpillError, error: &io::Error) {
        self.stats.count(reason);
        warn!(reason = reason.as_str(), %error, "Spilling failed");
    }
}

/// Appends entries to a file of which `bytes` are complete, and syncs it.
fn append_entries(
    disk: &dyn Disk,
    name: &str,
    bytes: &mut Option<u64>,
    entries: &[u8],
) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut file = disk.append_to(name)?;
    let whole = bytes.unwrap_or(0);
    file.truncate(whole)?;
    file.append(entries)?;
    file.sync()?;
    if bytes.is_none() {
        disk.sync_directory()?;
    }
    *bytes = Some(whole + entries.len() as u64);
    Ok(())
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("segments", &self.segments)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}
