//! The files of the log: segments of records, each with a done file, and a partly-done file
//! if there are several destinations.
//!
//! Batches are not completed in their order, so no single position separates done from
//! pending records. The done file lists the sequence numbers of done records. A segment is
//! removed when all its records are done, even if earlier segments still have some.

use std::{collections::BTreeMap, io};

use bytes::{Buf, BufMut, Bytes};
use mesh_contract::progress::hash;

use super::{
    disk::Disk,
    record::{Damage, Record},
};

/// Pending records of a segment.
#[derive(Debug, Default)]
pub(super) struct PendingRecords {
    /// Records that are not done, without payloads.
    pub(super) records: Vec<(Location, Record)>,
    /// Damage at which reading stopped, if any.
    pub(super) damage: Option<Damage>,
    pub(super) bytes: u64,
    /// Bytes of complete entries in the done file, if there is one.
    pub(super) done_bytes: Option<u64>,
    /// Hashes of the destinations that have completed a record, by its sequence number.
    pub(super) partly: BTreeMap<u64, Vec<u64>>,
    /// Bytes of complete entries in the partly-done file, if there is one.
    pub(super) partly_bytes: Option<u64>,
}

/// Location of a record in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// ID of the segment.
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// A batch that is done, at all destinations or at one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) seq: u64,
    pub(super) location: Location,
    /// Hash of the destination's name; `None` for all destinations.
    pub(super) destination: Option<u64>,
}

/// First bytes of a segment: file type and version.
pub(super) const MAGIC: &[u8] = b"promesh1";

/// Bytes of an entry in a done file: a sequence number and its checksum.
const DONE_BYTES: usize = 12;
/// Bytes of an entry in a partly-done file: a sequence number, the hash of a destination, and
/// the checksum of both.
const PARTLY_BYTES: usize = 20;

// === impl Done ===

impl Done {
    /// The batch is done at all destinations.
    pub(crate) fn everywhere(seq: u64, location: Location) -> Self {
        Self {
            seq,
            location,
            destination: None,
        }
    }

    /// The batch is done at one of several destinations.
    pub(crate) fn at(seq: u64, location: Location, destination: &str) -> Self {
        Self {
            destination: Some(hash(destination)),
            ..Self::everywhere(seq, location)
        }
    }
}

pub(super) fn segment_name(id: u64) -> String {
    format!("{id:016x}.segment")
}

pub(super) fn done_name(id: u64) -> String {
    format!("{id:016x}.done")
}

pub(super) fn partly_name(id: u64) -> String {
    format!("{id:016x}.partly")
}

/// Parses the segment ID in a file name with this extension.
pub(super) fn id_of(name: &str, extension: &str) -> Option<u64> {
    let id = name.strip_suffix(extension)?.strip_suffix('.')?;
    u64::from_str_radix(id, 16).ok()
}

/// Reads the pending records of a segment. Stops at a damaged record, since its length
/// cannot be trusted.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub(super) fn scan(disk: &dyn Disk, id: u64) -> io::Result<PendingRecords> {
    let bytes = disk.read_all(&segment_name(id))?;
    let mut scanned = PendingRecords {
        bytes: bytes.len() as u64,
        ..PendingRecords::default()
    };
    let (done, done_bytes) = read_done_file(disk, id);
    scanned.done_bytes = done_bytes;
    (scanned.partly, scanned.partly_bytes) = read_partly_file(disk, id);
    if !bytes.starts_with(MAGIC) {
        let torn = MAGIC.starts_with(&bytes) || bytes.iter().all(|byte| *byte == 0);
        scanned.damage = Some(if torn { Damage::Torn } else { Damage::Corrupt });
        return Ok(scanned);
    }
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let (mut record, len) = match Record::decode(&bytes.slice(at..)) {
            Ok(decoded) => decoded,
            Err(damage) => {
                scanned.damage = Some(damage);
                break;
            }
        };
        let location = Location {
            segment: id,
            offset: at as u64,
            len,
        };
        if done.binary_search(&record.seq).is_err() {
            // The payload is read again when the batch is sent.
            record.payload.clear();
            scanned.records.push((location, record));
        }
        at += len;
    }
    Ok(scanned)
}

/// Reads one record again.
///
/// # Errors
/// Returns `InvalidData` if the bytes are not those that were written.
pub(crate) fn read(disk: &dyn Disk, location: Location) -> io::Result<Record> {
    let bytes = disk.read(
        &segment_name(location.segment),
        location.offset,
        location.len,
    )?;
    let decoded = Record::decode(&bytes);
    let (record, _) = decoded.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(record)
}

/// Encodes the entry of a done file for a record.
pub(super) fn write_done(seq: u64, out: &mut Vec<u8>) {
    out.put_u64_le(seq);
    out.put_u32_le(crc32fast::hash(&seq.to_le_bytes()));
}

/// Reads the done file of a segment: sorted sequence numbers, and the bytes of complete
/// entries. Records with unreadable entries count as pending and are sent again.
fn read_done_file(disk: &dyn Disk, id: u64) -> (Vec<u64>, Option<u64>) {
    let Ok(bytes) = disk.read_all(&done_name(id)) else {
        return (Vec::new(), None);
    };
    let entries = bytes.chunks_exact(DONE_BYTES);
    let whole = entries.len() * DONE_BYTES;
    let mut done: Vec<_> = entries.filter_map(read_done).collect();
    done.sort_unstable();
    (done, Some(whole as u64))
}

/// Encodes the entry of a partly-done file.
pub(super) fn write_partly(seq: u64, destination: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u64_le(seq);
    out.put_u64_le(destination);
    let crc = crc32fast::hash(&out[start..]);
    out.put_u32_le(crc);
}

/// Reads the partly-done file of a segment: the hashes of destinations by sequence number,
/// and the bytes of complete entries. An unreadable entry counts as missing.
fn read_partly_file(disk: &dyn Disk, id: u64) -> (BTreeMap<u64, Vec<u64>>, Option<u64>) {
    let Ok(bytes) = disk.read_all(&partly_name(id)) else {
        return (BTreeMap::new(), None);
    };
    let entries = bytes.chunks_exact(PARTLY_BYTES);
    let whole = entries.len() * PARTLY_BYTES;
    let mut partly: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for mut entry in entries {
        let crc = crc32fast::hash(&entry[..PARTLY_BYTES - 4]);
        let (seq, destination) = (entry.get_u64_le(), entry.get_u64_le());
        if entry.get_u32_le() == crc {
            partly.entry(seq).or_default().push(destination);
        }
    }
    (partly, Some(whole as u64))
}

fn read_done(mut entry: &[u8]) -> Option<u64> {
    let (seq, crc) = (entry.get_u64_le(), entry.get_u32_le());
    (crc32fast::hash(&seq.to_le_bytes()) == crc).then_some(seq)
}

/// Encodes the fence: the time until which Exports of this process may be in flight.
pub(super) fn encode_fence(until_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(DONE_BYTES);
    write_done(until_ms as u64, &mut out);
    out
}

pub(super) fn decode_fence(bytes: &Bytes) -> Option<i64> {
    let until_ms = read_done(bytes.get(..DONE_BYTES)?)?;
    Some(until_ms as i64)
}
