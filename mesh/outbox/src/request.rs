//! The request that a lane has in flight: the payloads of its batches, joined.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{
    entry::Body,
    spill::{self, Disk},
};
use mesh_base::blocking::{self, BLOCKING_BYTES};
use mesh_contract::batch::BatchContext;

/// The request that a lane has in flight.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) context: Arc<BatchContext>,
    pub(super) payload: Bytes,
    pub(super) samples: u64,
}

/// A payload that cannot be read now, or ever.
#[derive(Debug)]
pub(super) struct Unread {
    /// Number of the batch.
    pub(super) seq: u64,
    pub(super) error: io::Error,
}

/// Joins payloads end to end; the same bytes each time.
///
/// # Errors
/// Where one of them cannot be read from the disk.
pub(super) async fn payload(
    bodies: Vec<(u64, Body)>,
    disk: Option<Arc<dyn Disk>>,
) -> Result<Bytes, Unread> {
    let blocks = |body: &Body| match body {
        Body::InMemory(packed) => packed.raw_bytes() >= BLOCKING_BYTES,
        Body::OnDisk(_) => true,
    };
    if !bodies.iter().any(|(_, body)| blocks(body)) {
        return join(&bodies, disk.as_deref());
    }
    blocking::run(move || join(&bodies, disk.as_deref())).await
}

fn join(bodies: &[(u64, Body)], disk: Option<&dyn Disk>) -> Result<Bytes, Unread> {
    let unpack = |(seq, body): &(u64, Body)| {
        let unpacked = match (body, disk) {
            (Body::InMemory(packed), _) => packed.unpack(),
            (Body::OnDisk(place), Some(disk)) => {
                spill::read(disk, *place).and_then(|record| record.payload.unpack())
            }
            (Body::OnDisk(_), None) => Err(io::ErrorKind::NotFound.into()),
        };
        unpacked.map_err(|error| Unread { seq: *seq, error })
    };
    if let [only] = bodies {
        return unpack(only);
    }
    let mut joined = BytesMut::new();
    for body in bodies {
        joined.extend_from_slice(&unpack(body)?);
    }
    Ok(joined.freeze())
}

// === impl Unread ===

impl Unread {
    /// Whether the bytes are gone, rather than out of reach for now.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
        )
    }
}
