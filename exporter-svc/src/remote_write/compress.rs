//! Compression of request bodies.
//!
//! snappy needs a buffer for the worst case, a sixth more than the input, while most
//! bodies shrink to a tenth. So each thread reuses one buffer, and a request allocates
//! only its compressed size.

use std::cell::RefCell;

use bytes::Bytes;
use snap::raw::{Encoder, max_compress_len};

/// Encoder and output buffer of one thread.
struct Compressor {
    encoder: Encoder,
    buffer: Vec<u8>,
}

/// Maximum size of a buffer that a thread retains; enough for usual requests.
const MAX_RETAINED_BYTES: usize = 2 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor {
        encoder: Encoder::new(),
        buffer: Vec::new(),
    });
}

/// Compresses `body` in snappy's block format.
///
/// # Errors
/// Returns an error if `body` exceeds 4 GiB, the limit of the format.
pub fn compress(body: &[u8]) -> Result<Bytes, snap::Error> {
    COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(body))
}

// === impl Compressor ===

impl Compressor {
    fn compress(&mut self, body: &[u8]) -> Result<Bytes, snap::Error> {
        let needed = max_compress_len(body.len());
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        let len = self.encoder.compress(body, &mut self.buffer)?;
        let compressed = Bytes::copy_from_slice(&self.buffer[..len]);
        if self.buffer.len() > MAX_RETAINED_BYTES {
            self.buffer = Vec::new();
        }
        Ok(compressed)
    }
}

#[cfg(test)]
mod tests {
    use snap::raw::Decoder;

    use super::*;

    #[test]
    fn compresses_bodies_of_any_size_without_loss() {
        for len in [0, 1, 70_000, 3 * MAX_RETAINED_BYTES, 5, 100_000] {
            let body: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
            let compressed = compress(&body).unwrap();
            assert_eq!(Decoder::new().decompress_vec(&compressed).unwrap(), body);
            COMPRESSOR
                .with_borrow(|compressor| assert!(compressor.buffer.len() <= MAX_RETAINED_BYTES));
        }
    }
}
