//! Compression of the messages between services: zstd, gzip or none.
//!
//! A zstd context is several hundred KiB of memory, more than most messages have. So each
//! thread reuses one compression context, one decompression context and one output buffer.
//! The compressed message is copied out of the buffer into an allocation of its exact size.

use std::{
    cell::RefCell,
    io::{self, Read},
};

use bytes::Bytes;
use flate2::read::{GzEncoder, MultiGzDecoder};
use zstd::{
    bulk::Compressor,
    zstd_safe::{
        self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound,
        get_error_name, get_frame_content_size,
    },
};

/// Compression algorithm of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// zstd.
    #[default]
    Zstd,
    /// gzip, which every OTLP receiver supports.
    Gzip,
    /// No compression.
    None,
}

/// Error of decompressing a message.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The decompressed message is larger than this limit in bytes.
    #[error("more than {0} bytes once decompressed")]
    TooLarge(usize),
    /// The message is not valid in its compression format.
    #[error("{0}")]
    Malformed(#[from] io::Error),
}

/// A zstd compression context and its output buffer, reused by one thread.
struct ZstdCompressor {
    context: Compressor<'static>,
    buffer: Vec<u8>,
}

/// The slowest of zstd's fast levels. It takes half the CPU time of the default level for
/// scraped data, and the result is about a quarter larger: 27 bytes for a sample with four
/// labels of its own, 4 for a sample of a histogram.
const LEVEL: i32 = -1;
const GZIP_LEVEL: u32 = 6;
/// Largest message that uses the thread's shared context: 256 KiB.
///
/// A larger message gets its own context. The cost is small relative to the message, and
/// a context of that size would occupy megabytes per thread.
const MAX_SHARED_BYTES: usize = 256 << 10;
/// Base-2 logarithm of the largest zstd window that a frame may use: 8 MiB, the size that
/// RFC 8878 recommends every decoder to support.
pub const WINDOW_LOG: u32 = 23;
/// Estimated ratio of decompressed to compressed bytes, for a frame without its size.
const EXPANSION: usize = 8;

thread_local! {
    static COMPRESSOR: RefCell<Option<ZstdCompressor>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Compresses `bytes` into one zstd frame.
///
/// # Errors
/// Returns an error if zstd cannot allocate memory.
pub fn zstd(bytes: &[u8]) -> io::Result<Bytes> {
    if bytes.len() > MAX_SHARED_BYTES {
        return Ok(zstd::bulk::compress(bytes, LEVEL)?.into());
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(ZstdCompressor::new()?),
        };
        compressor.compress(bytes)
    })
}

/// Decompresses one or more zstd frames to at most `limit` bytes.
///
/// # Errors
/// Returns an error if the result would exceed `limit`, or if `bytes` are not complete
/// zstd frames.
pub fn unzstd(bytes: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(decompressor()?),
        };
        // After a failure the context is still in the middle of a frame.
        let reset = context.reset(ResetDirective::SessionOnly);
        reset.map_err(zstd_error)?;
        decompress(context, bytes, limit)
    })
}

// === impl DecompressError ===

impl From<DecompressError> for io::Error {
    fn from(error: DecompressError) -> Self {
        match error {
            DecompressError::TooLarge(_) => Self::new(io::ErrorKind::InvalidData, error),
            DecompressError::Malformed(error) => error,
        }
    }
}

// === impl Compression ===

impl Compression {
    /// Returns the compression with this HTTP content-coding name, or `None` if the name
    /// is unknown.
    ///
    /// ```
    /// use mesh_wire::compression::Compression;
    ///
    /// assert_eq!(Compression::from_name(b"gzip"), Some(Compression::Gzip));
    /// assert_eq!(Compression::from_name(b"br"), None);
    /// ```
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"zstd" => Some(Self::Zstd),
            b"gzip" => Some(Self::Gzip),
            b"identity" => Some(Self::None),
            _ => None,
        }
    }

    /// Returns the HTTP content-coding name: `zstd`, `gzip` or `identity`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::None => "identity",
        }
    }

    /// Compresses a message.
    ///
    /// # Errors
    /// Returns an error if the compressor cannot allocate memory.
    pub fn compress(self, bytes: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Zstd => zstd(&bytes),
            Self::Gzip => {
                let mut compressed = Vec::new();
                let level = flate2::Compression::new(GZIP_LEVEL);
                GzEncoder::new(&*bytes, level).read_to_end(&mut compressed)?;
                Ok(compressed.into())
            }
            Self::None => Ok(bytes),
        }
    }

    /// Decompresses a message to at most `limit` bytes.
    ///
    /// # Errors
    /// Returns an error if the result would exceed `limit`, or if the message is not valid
    /// in this format.
    pub fn decompress(self, bytes: Bytes, limit: usize) -> Result<Bytes, DecompressError> {
        match self {
            Self::Zstd => unzstd(&bytes, limit),
            Self::Gzip => {
                let mut raw = Vec::new();
                let max = (limit as u64).saturating_add(1);
                MultiGzDecoder::new(&*bytes)
                    .take(max)
                    .read_to_end(&mut raw)?;
                check_limit(raw.into(), limit)
            }
            Self::None => check_limit(bytes, limit),
        }
    }
}

// === impl ZstdCompressor ===

impl ZstdCompressor {
    fn new() -> io::Result<Self> {
        Ok(Self {
            context: Compressor::new(LEVEL)?,
            buffer: Vec::new(),
        })
    }

    fn compress(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        self.buffer.clear();
        self.buffer.reserve(compress_bound(bytes.len()));
        self.context.compress_to_buffer(bytes, &mut self.buffer)?;
        Ok(Bytes::copy_from_slice(&self.buffer))
    }
}

fn decompressor() -> io::Result<DCtx<'static>> {
    let mut context = DCtx::create();
    context
        .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
        .map_err(zstd_error)?;
    Ok(context)
}

fn decompress(
    context: &mut DCtx<'static>,
    bytes: &[u8],
    limit: usize,
) -> Result<Bytes, DecompressError> {
    let declared = get_frame_content_size(bytes).ok().flatten();
    let expected = declared.map_or(bytes.len().saturating_mul(EXPANSION), |size| {
        usize::try_from(size).unwrap_or(usize::MAX)
    });
    // One byte more than the limit, so that a full buffer always means "too large".
    let max_capacity = limit.saturating_add(1);
    let mut raw = Vec::with_capacity(expected.clamp(1, max_capacity));
    let mut input = InBuffer::around(bytes);
    loop {
        let (written, read) = (raw.len(), input.pos);
        let mut output = OutBuffer::around_pos(&mut raw, written);
        let remaining = context.decompress_stream(&mut output, &mut input);
        let remaining = remaining.map_err(zstd_error)?;
        let is_all_read = input.pos == bytes.len();
        if raw.len() > limit {
            return Err(DecompressError::TooLarge(limit));
        }
        if remaining == 0 && is_all_read {
            return Ok(raw.into());
        }
        if raw.len() == raw.capacity() {
            let more = raw.len().min(max_capacity - raw.len());
            raw.reserve_exact(more);
        } else if is_all_read || (input.pos, raw.len()) == (read, written) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn check_limit(raw: Bytes, limit: usize) -> Result<Bytes, DecompressError> {
    if raw.len() > limit {
        return Err(DecompressError::TooLarge(limit));
    }
    Ok(raw)
}

fn zstd_error(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, get_error_name(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::Zstd, Compression::Gzip, Compression::None];

    proptest! {
        #[test]
        fn round_trips_a_message(
            raw in proptest::collection::vec(any::<u8>(), 0..2000),
            times in 1usize..300,
        ) {
            let raw = Bytes::from(raw.repeat(times));
            for compression in ALL {
                let compressed = compression.compress(raw.clone()).unwrap();
                let back = compression.decompress(compressed.clone(), raw.len()).unwrap();
                prop_assert_eq!(&back, &raw);
                if let Some(limit) = raw.len().checked_sub(1) {
                    let error = compression.decompress(compressed, limit).unwrap_err();
                    prop_assert!(matches!(error, DecompressError::TooLarge(_)), "{}", error);
                }
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for compression in ALL {
                let _ = compression.decompress(bytes.clone().into(), 1000);
            }
        }
    }

    #[test]
    fn decompresses_frames_without_a_content_size() {
        let raw = b"http_requests_total{code=\"200\"}".repeat(10_000);
        let streamed = zstd::encode_all(&raw[..], 1).unwrap();
        assert_eq!(get_frame_content_size(&streamed).ok().flatten(), None);
        let twice = [&streamed[..], &zstd(b"and another").unwrap()].concat();
        let back = unzstd(&twice, 1 << 20).unwrap();
        assert_eq!(back, [&raw[..], b"and another"].concat());
    }

    #[test]
    fn rejects_a_truncated_message_and_recovers() {
        let raw = b"http_requests_total{code=\"200\"}".repeat(100);
        for whole in [
            zstd(&raw).unwrap(),
            zstd::encode_all(&raw[..], 1).unwrap().into(),
        ] {
            for len in 1..whole.len() {
                let cut = unzstd(&whole[..len], 1 << 20);
                assert!(matches!(cut, Err(DecompressError::Malformed(_))), "{cut:?}");
            }
            assert_eq!(unzstd(&whole, 1 << 20).unwrap(), raw);
        }
    }

    #[test]
    fn stops_at_the_limit() {
        let bomb = zstd(&vec![0; 1 << 20]).unwrap();
        assert!(bomb.len() < 200);
        let error = unzstd(&bomb, 1000).unwrap_err();
        assert_eq!(error.to_string(), "more than 1000 bytes once decompressed");
    }
}
