//! The files of the log: segments of records, and beside each the numbers of the
//! records in it that are done with.
//!
//! Lanes settle their batches in an order of their own, so no single position
//! tells what is done. A segment's done file says it record by record, and a
//! segment is removed when all of it is done, whatever is before it.

use std::io;

use bytes::{Buf, BufMut, Bytes};

use super::{
    disk::Disk,
    record::{Damage, Record},
};

/// What is left of a segment.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Records that are not done with, without their payloads.
    pub(super) records: Vec<(Place, Record)>,
    /// Why reading ended before the end, where it did.
    pub(super) damage: Option<Damage>,
    pub(super) bytes: u64,
    /// Bytes of whole entries of its done file, where it has one.
    pub(super) done_bytes: Option<u64>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the segment.
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// What a segment starts with: its kind and version.
pub(super) const MAGIC: &[u8] = b"promesh1";

/// Bytes of an entry of a done file: a record's number and its checksum.
const DONE_BYTES: usize = 12;

pub(super) fn segment_name(id: u64) -> String {
    format!("{id:016x}.segment")
}

pub(super) fn done_name(id: u64) -> String {
    format!("{id:016x}.done")
}

/// The number in a name of ours that ends like this.
pub(super) fn id_of(name: &str, extension: &str) -> Option<u64> {
    let id = name.strip_suffix(extension)?.strip_suffix('.')?;
    u64::from_str_radix(id, 16).ok()
}

/// Reads what is left of a segment. Behind a damaged record nothing is read: its
/// length cannot be trusted.
///
/// # Errors
/// Where it cannot be read at all.
pub(super) fn scan(disk: &dyn Disk, id: u64) -> io::Result<Scanned> {
    let bytes = disk.read_all(&segment_name(id))?;
    let mut scanned = Scanned {
        bytes: bytes.len() as u64,
        ..Scanned::default()
    };
    let (done, done_bytes) = done(disk, id);
    scanned.done_bytes = done_bytes;
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
        let place = Place {
            segment: id,
            offset: at as u64,
            len,
        };
        if done.binary_search(&record.seq).is_err() {
            // Read again when it is sent.
            record.payload.forget();
            scanned.records.push((place, record));
        }
        at += len;
    }
    Ok(scanned)
}

/// One record, read again.
///
/// # Errors
/// `InvalidData` where the bytes are not those that were written.
pub(crate) fn read(disk: &dyn Disk, place: Place) -> io::Result<Record> {
    let bytes = disk.read(&segment_name(place.segment), place.offset, place.len)?;
    let decoded = Record::decode(&bytes);
    let (record, _) = decoded.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(record)
}

/// The entry of a done file for a record.
pub(super) fn write_done(seq: u64, out: &mut Vec<u8>) {
    out.put_u64_le(seq);
    out.put_u32_le(crc32fast::hash(&seq.to_le_bytes()));
}

/// The records of a segment that are done with, sorted, and how many bytes say so.
/// What cannot be read is not done: it is sent again.
fn done(disk: &dyn Disk, id: u64) -> (Vec<u64>, Option<u64>) {
    let Ok(bytes) = disk.read_all(&done_name(id)) else {
        return (Vec::new(), None);
    };
    let entries = bytes.chunks_exact(DONE_BYTES);
    let whole = entries.len() * DONE_BYTES;
    let mut done: Vec<_> = entries.filter_map(read_done).collect();
    done.sort_unstable();
    (done, Some(whole as u64))
}

fn read_done(mut entry: &[u8]) -> Option<u64> {
    let (seq, crc) = (entry.get_u64_le(), entry.get_u32_le());
    (crc32fast::hash(&seq.to_le_bytes()) == crc).then_some(seq)
}

/// Until when Exports of a process may be under way, as a file has it.
pub(super) fn encode_fence(until_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(DONE_BYTES);
    write_done(until_ms as u64, &mut out);
    out
}

pub(super) fn decode_fence(bytes: &Bytes) -> Option<i64> {
    let until_ms = read_done(bytes.get(..DONE_BYTES)?)?;
    Some(until_ms as i64)
}
