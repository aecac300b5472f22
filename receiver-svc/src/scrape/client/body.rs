//! Response body that enforces the size limits.

use std::io;

use mesh_base::budget::Reservation;

use super::BodyLimit;
use crate::scrape::failure::ScrapeError;

/// Collects a body and fails if it exceeds a limit.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    limit: BodyLimit,
    reservation: Reservation,
    /// Error behind an I/O error of the decompressor, which cannot carry it.
    failure: Option<ScrapeError>,
}

// === impl Body ===

impl Body {
    pub(super) fn new(limit: BodyLimit, expected: usize, reservation: Reservation) -> Self {
        Self {
            bytes: Vec::with_capacity(expected),
            limit,
            reservation,
            failure: None,
        }
    }

    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), ScrapeError> {
        let bytes = self.bytes.len() + data.len();
        if bytes as u64 >= self.limit.bytes {
            return Err(ScrapeError::BodySize {
                limit: self.limit.bytes,
                setting: self.limit.setting,
            });
        }
        if bytes > self.bytes.capacity() {
            let capacity = bytes.max(self.bytes.capacity() * 2);
            if !self.reservation.grow_to(capacity) {
                return Err(ScrapeError::Budget {
                    bytes: self.bytes.len(),
                });
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Returns the stored error, or `error` of the decompressor if there is none.
    pub(super) fn failure(&mut self, error: io::Error) -> ScrapeError {
        self.failure
            .take()
            .unwrap_or(ScrapeError::Compression(error))
    }

    pub(super) fn into_parts(self) -> (Vec<u8>, Reservation) {
        (self.bytes, self.reservation)
    }
}

impl io::Write for Body {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.push(data) {
            Ok(()) => Ok(data.len()),
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::Error::other("body exceeds a limit"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
