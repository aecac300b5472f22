//! The request that a lane has in flight: the joined payloads of its batches.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};

use mesh_base::blocking::{self, BLOCKING_BYTES};
use mesh_contract::batch::BatchContext;

use crate::{
    entry::Body,
    spill::{self, Disk},
};

/// The request that a lane has in flight.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) context: Arc<BatchContext>,
    pub(crate) payload: Bytes,
    pub(crate) samples: u64,
}

/// The payload of a batch could not be read.
#[derive(Debug)]
pub(crate) struct ReadError {
    /// Sequence number of the batch.
    pub(crate) seq: u64,
    pub(crate) error: io::Error,
}

/// Concatenates payloads. A retry gets the same bytes.
///
/// # Errors
/// Returns an error if a payload cannot be read from disk or decompressed.
pub(crate) async fn payload(
    bodies: Vec<(u64, Body)>,
    disk: Option<Arc<dyn Disk>>,
) -> Result<Bytes, ReadError> {
    let blocks = |body: &Body| match body {
        Body::InMemory(packed) => packed.raw_bytes() >= BLOCKING_BYTES,
        Body::OnDisk(_) => true,
    };
    if !bodies.iter().any(|(_, body)| blocks(body)) {
        return join(&bodies, disk.as_deref());
    }
    blocking::run(move || join(&bodies, disk.as_deref())).await
}

fn join(bodies: &[(u64, Body)], disk: Option<&dyn Disk>) -> Result<Bytes, ReadError> {
    let unpack = |(seq, body): &(u64, Body)| {
        let unpacked = match (body, disk) {
            (Body::InMemory(packed), _) => packed.unpack(),
            (Body::OnDisk(location), Some(disk)) => {
                spill::read(disk, *location).and_then(|record| record.payload.unpack())
            }
            (Body::OnDisk(_), None) => Err(io::ErrorKind::NotFound.into()),
        };
        unpacked.map_err(|error| ReadError { seq: *seq, error })
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

// === impl ReadError ===

impl ReadError {
    /// Returns true if the bytes are lost, so that a retry is useless.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
        )
    }
}
