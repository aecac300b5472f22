//! A payload at rest: compressed where that makes it smaller.

use std::io;

use bytes::Bytes;

use mesh_wire::compression::{unzstd, zstd};

/// A payload at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    bytes: Bytes,
    encoding: Encoding,
    raw_bytes: usize,
}

/// How a payload is kept. The numbers stand in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Encoding {
    Raw = 0,
    Zstd = 1,
}

// === impl Packed ===

impl Packed {
    /// A payload as it is.
    pub(super) fn raw(bytes: Bytes) -> Self {
        Self {
            raw_bytes: bytes.len(),
            encoding: Encoding::Raw,
            bytes,
        }
    }

    /// A payload that was packed before.
    pub(super) fn from_parts(bytes: Bytes, encoding: Encoding, raw_bytes: usize) -> Self {
        Self {
            bytes,
            encoding,
            raw_bytes,
        }
    }

    /// The payload, compressed where that makes it smaller.
    pub(super) fn pack(self) -> Self {
        if self.encoding != Encoding::Raw {
            return self;
        }
        match zstd(&self.bytes) {
            Ok(compressed) if compressed.len() < self.bytes.len() => Self {
                bytes: compressed,
                encoding: Encoding::Zstd,
                raw_bytes: self.raw_bytes,
            },
            _ => self,
        }
    }

    /// The payload as it was, byte for byte.
    ///
    /// # Errors
    /// Where the bytes are not what was packed.
    pub(super) fn unpack(&self) -> io::Result<Bytes> {
        match self.encoding {
            Encoding::Raw => Ok(self.bytes.clone()),
            Encoding::Zstd => {
                let raw = unzstd(&self.bytes, self.raw_bytes)?;
                if raw.len() != self.raw_bytes {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(raw)
            }
        }
    }

    /// What is known of the payload, without it.
    pub(super) fn forget(&mut self) {
        self.bytes = Bytes::new();
    }

    /// The bytes at rest.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many bytes the payload has once unpacked.
    pub(super) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }
}

// === impl Encoding ===

impl Encoding {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_packed_payload_comes_out_as_it_was(
            raw in proptest::collection::vec(any::<u8>(), 0..2000),
            times in 1usize..4,
        ) {
            let raw = Bytes::from(raw.repeat(times));
            let packed = Packed::raw(raw.clone()).pack();
            prop_assert!(packed.bytes().len() <= raw.len());
            prop_assert_eq!(packed.raw_bytes(), raw.len());
            prop_assert_eq!(packed.unpack().unwrap(), raw);
        }
    }

    #[test]
    fn what_repeats_itself_becomes_small() {
        let raw = Bytes::from(b"http_requests_total{code=\"200\"}".repeat(100));
        assert!(Packed::raw(raw.clone()).pack().bytes().len() < raw.len() / 10);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let packed = Packed::from_parts(Bytes::from_static(b"zstd?"), Encoding::Zstd, 9);
        assert!(packed.unpack().is_err());
    }
}
