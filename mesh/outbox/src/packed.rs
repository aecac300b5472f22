//! A stored payload, compressed if that makes it smaller.

use std::io;

use bytes::Bytes;

use mesh_wire::compression::{unzstd, zstd};

/// A stored payload, raw or compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    bytes: Bytes,
    encoding: Encoding,
    raw_bytes: usize,
}

/// Encoding of a stored payload. Segment files contain these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Encoding {
    Raw = 0,
    Zstd = 1,
}

// === impl Packed ===

impl Packed {
    /// Wraps a payload without compressing it.
    pub(crate) fn raw(bytes: Bytes) -> Self {
        Self {
            raw_bytes: bytes.len(),
            encoding: Encoding::Raw,
            bytes,
        }
    }

    /// Restores a payload from its stored parts.
    pub(crate) fn from_parts(bytes: Bytes, encoding: Encoding, raw_bytes: usize) -> Self {
        Self {
            bytes,
            encoding,
            raw_bytes,
        }
    }

    /// Compresses the payload if that makes it smaller.
    pub(crate) fn pack(self) -> Self {
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

    /// Returns the original payload.
    ///
    /// # Errors
    /// Returns an error if the stored bytes are damaged.
    pub(crate) fn unpack(&self) -> io::Result<Bytes> {
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

    /// Frees the bytes and keeps the encoding and the size.
    pub(crate) fn clear(&mut self) {
        self.bytes = Bytes::new();
    }

    /// Returns the stored bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the size of the original payload in bytes.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }
}

// === impl Encoding ===

impl Encoding {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
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
        fn unpacks_the_original_payload(
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
    fn compresses_repetitive_bytes() {
        let raw = Bytes::from(b"http_requests_total{code=\"200\"}".repeat(100));
        assert!(Packed::raw(raw.clone()).pack().bytes().len() < raw.len() / 10);
    }

    #[test]
    fn rejects_damaged_bytes() {
        let packed = Packed::from_parts(Bytes::from_static(b"zstd?"), Encoding::Zstd, 9);
        assert!(packed.unpack().is_err());
    }
}
