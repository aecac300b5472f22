//! Compression of requests.
//!
//! snappy needs room for the worst case, a sixth more than it is given, and most
//! requests come to a tenth. So each thread keeps that room, and a request only what it
//! came to.

use std::cell::RefCell;

use bytes::Bytes;
use snap::raw::{Encoder, max_compress_len};

/// What a thread compresses with, and the room for it.
struct Compressor {
    encoder: Encoder,
    room: Vec<u8>,
}

/// More room than this is not kept: the largest of usual requests, and some more.
const KEPT_BYTES: usize = 2 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor {
        encoder: Encoder::new(),
        room: Vec::new(),
    });
}

/// `body` in snappy's block format.
///
/// # Errors
/// Where it is longer than that can express, which is 4 GiB.
pub fn compress(body: &[u8]) -> Result<Bytes, snap::Error> {
    COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(body))
}

// === impl Compressor ===

impl Compressor {
    fn compress(&mut self, body: &[u8]) -> Result<Bytes, snap::Error> {
        let needed = max_compress_len(body.len());
        if self.room.len() < needed {
            self.room.resize(needed, 0);
        }
        let len = self.encoder.compress(body, &mut self.room)?;
        let compressed = Bytes::copy_from_slice(&self.room[..len]);
        if self.room.len() > KEPT_BYTES {
            self.room = Vec::new();
        }
        Ok(compressed)
    }
}

#[cfg(test)]
mod tests {
    use snap::raw::Decoder;

    use super::*;

    #[test]
    fn bodies_of_any_size_come_out_as_they_were() {
        for len in [0, 1, 70_000, 3 * KEPT_BYTES, 5, 100_000] {
            let body: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
            let compressed = compress(&body).unwrap();
            assert_eq!(Decoder::new().decompress_vec(&compressed).unwrap(), body);
            COMPRESSOR.with_borrow(|kept| assert!(kept.room.len() <= KEPT_BYTES));
        }
    }
}
