//! A body within its limits.

use std::io;

use mesh::budget::Share;

use super::BodyLimit;
use crate::scrape::failure::ScrapeError;

/// Collects a body, and stops where it grows too large.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    limit: BodyLimit,
    share: Share,
    /// What went wrong, for a decompressor only knows I/O errors.
    failure: Option<ScrapeError>,
}

// === impl Body ===

impl Body {
    pub(super) fn new(limit: BodyLimit, expected: usize, share: Share) -> Self {
        Self {
            bytes: Vec::with_capacity(expected),
            limit,
            share,
            failure: None,
        }
    }

    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), ScrapeError> {
        let bytes = self.bytes.len() + data.len();
        if bytes as u64 >= self.limit.bytes {
            return Err(ScrapeError::BodySize {
                limit: self.limit.bytes,
                what: self.limit.what,
            });
        }
        if bytes > self.bytes.capacity() {
            let capacity = bytes.max(self.bytes.capacity() * 2);
            if !self.share.grow_to(capacity) {
                return Err(ScrapeError::Budget {
                    bytes: self.bytes.len(),
                });
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// What went wrong here, or else in the decompressor.
    pub(super) fn failure(&mut self, error: io::Error) -> ScrapeError {
        self.failure
            .take()
            .unwrap_or(ScrapeError::Compression(error))
    }

    pub(super) fn into_parts(self) -> (Vec<u8>, Share) {
        (self.bytes, self.share)
    }
}

impl io::Write for Body {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.push(data) {
            Ok(()) => Ok(data.len()),
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::Error::other("the body is beyond a limit"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
