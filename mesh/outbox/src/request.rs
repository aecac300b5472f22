//! The request of a flight: the joined payloads of its batches.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};

use mesh_base::blocking::{self, BLOCKING_BYTES};
use mesh_contract::batch::BatchContext;

use crate::{
    entry::Body,
    spill::{self, Disk},
};

/// The request of a flight.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) context: Arc<BatchContext>,
    pub(crate) payload: Bytes,
    /// Bytes of each batch.
    pub(crate) sizes: Vec<u32>,
}

/// Context of a request, and the payload of each batch by its sequence number.
pub(crate) type Bodies = (Arc<BatchContext>, Vec<(u64, Body)>);

/// Joined payloads.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    /// Bytes of each batch.
    pub(crate) sizes: Vec<u32>,
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
) -> Result<Payload, ReadError> {
    let blocks = |body: &Body| match body {
        Body::InMemory(packed) => packed.raw_bytes() >= BLOCKING_BYTES,
        Body::OnDisk(_) => true,
    };
    if !bodies.iter().any(|(_, body)| blocks(body)) {
        return join(&bodies, disk.as_deref());
    }
    blocking::run(move || join(&bodies, disk.as_deref())).await
}

fn join(bodies: &[(u64, Body)], disk: Option<&dyn Disk>) -> Result<Payload, ReadError> {
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
        let bytes = unpack(only)?;
        let sizes = vec![bytes.len() as u32];
        return Ok(Payload { bytes, sizes });
    }
    let (mut joined, mut sizes) = (BytesMut::new(), Vec::with_capacity(bodies.len()));
    for body in bodies {
        let bytes = unpack(body)?;
        sizes.push(bytes.len() as u32);
        joined.extend_from_slice(&bytes);
    }
    Ok(Payload {
        bytes: joined.freeze(),
        sizes,
    })
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
