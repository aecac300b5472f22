//! Compression of what pods send each other.
//!
//! A zstd context is some hundred KiB of memory to take and to clear, more than most
//! messages have. So each thread keeps one for either way, and the room that the worst
//! case needs; a message takes only what it came to.

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

/// How a message is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// zstd.
    #[default]
    Zstd,
    /// gzip, which every OTLP receiver takes.
    Gzip,
    /// None.
    None,
}

/// A message that cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// It has more bytes than this many.
    #[error("more than {0} bytes once decompressed")]
    TooLarge(usize),
    /// It is not what it is said to be.
    #[error("{0}")]
    Malformed(#[from] io::Error),
}

/// What a thread compresses with.
struct Kept {
    compressor: Compressor<'static>,
    room: Vec<u8>,
}

/// zstd's default: four times the speed of what a network brings, a tenth of the
/// bytes for what targets say.
const LEVEL: i32 = 3;
const GZIP_LEVEL: u32 = 6;
/// Longer messages get a context of their own: for them it is no cost that shows, and
/// kept it would be megabytes a thread.
const KEPT_BYTES: usize = 256 << 10;
/// The largest window that a frame may ask for, as the power of two: 8 MiB, which
/// RFC 8878 wants every decoder to have.
pub const WINDOW_LOG: u32 = 23;
/// How many times its compressed bytes a message probably has.
const EXPANSION: usize = 8;

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// `bytes` as one zstd frame.
///
/// # Errors
/// Where there is no memory.
pub fn zstd(bytes: &[u8]) -> io::Result<Bytes> {
    if bytes.len() > KEPT_BYTES {
        return Ok(zstd::bulk::compress(bytes, LEVEL)?.into());
    }
    KEPT.with_borrow_mut(|kept| {
        let kept = match kept {
            Some(kept) => kept,
            None => kept.insert(Kept::new()?),
        };
        kept.compress(bytes)
    })
}

/// What zstd frames hold, of `limit` bytes at most.
///
/// # Errors
/// Where they hold more, or are none.
pub fn unzstd(bytes: &[u8], limit: usize) -> Result<Bytes, DecompressError> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(decompressor()?),
        };
        // One that failed is not where a frame begins.
        let reset = context.reset(ResetDirective::SessionOnly);
        reset.map_err(failed)?;
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
    /// The compression of this name in HTTP.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"zstd" => Some(Self::Zstd),
            b"gzip" => Some(Self::Gzip),
            b"identity" => Some(Self::None),
            _ => None,
        }
    }

    /// Its name in HTTP.
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
    /// Where there is no memory.
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

    /// Decompresses a message of `limit` bytes at most.
    ///
    /// # Errors
    /// Where it has more, or is not compressed so.
    pub fn decompress(self, bytes: Bytes, limit: usize) -> Result<Bytes, DecompressError> {
        match self {
            Self::Zstd => unzstd(&bytes, limit),
            Self::Gzip => {
                let mut raw = Vec::new();
                let most = (limit as u64).saturating_add(1);
                MultiGzDecoder::new(&*bytes)
                    .take(most)
                    .read_to_end(&mut raw)?;
                within(raw.into(), limit)
            }
            Self::None => within(bytes, limit),
        }
    }
}

// === impl Kept ===

impl Kept {
    fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            room: Vec::new(),
        })
    }

    fn compress(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        self.room.clear();
        self.room.reserve(compress_bound(bytes.len()));
        self.compressor.compress_to_buffer(bytes, &mut self.room)?;
        Ok(Bytes::copy_from_slice(&self.room))
    }
}

fn decompressor() -> io::Result<DCtx<'static>> {
    let mut context = DCtx::create();
    let limited = context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG));
    limited.map_err(failed)?;
    Ok(context)
}

fn decompress(
    context: &mut DCtx<'static>,
    bytes: &[u8],
    limit: usize,
) -> Result<Bytes, DecompressError> {
    let says = get_frame_content_size(bytes).ok().flatten();
    let says = says.map_or(bytes.len().saturating_mul(EXPANSION), |says| {
        usize::try_from(says).unwrap_or(usize::MAX)
    });
    // More than is allowed by one, so that what is allowed never fills it.
    let most = limit.saturating_add(1);
    let mut raw = Vec::with_capacity(says.clamp(1, most));
    let mut input = InBuffer::around(bytes);
    loop {
        let (at, from) = (raw.len(), input.pos);
        let mut output = OutBuffer::around_pos(&mut raw, at);
        let wanted = context.decompress_stream(&mut output, &mut input);
        let wanted = wanted.map_err(failed)?;
        let is_all_read = input.pos == bytes.len();
        if raw.len() > limit {
            return Err(DecompressError::TooLarge(limit));
        }
        if wanted == 0 && is_all_read {
            return Ok(raw.into());
        }
        if raw.len() == raw.capacity() {
            let more = raw.len().min(most - raw.len());
            raw.reserve_exact(more);
        } else if is_all_read || (input.pos, raw.len()) == (from, at) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn within(raw: Bytes, limit: usize) -> Result<Bytes, DecompressError> {
    match raw.len() <= limit {
        true => Ok(raw),
        false => Err(DecompressError::TooLarge(limit)),
    }
}

fn failed(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, get_error_name(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::Zstd, Compression::Gzip, Compression::None];

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_was(
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
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for compression in ALL {
                let _ = compression.decompress(bytes.clone().into(), 1000);
            }
        }
    }

    #[test]
    fn frames_of_others_do_not_say_how_long_they_are() {
        let raw = b"http_requests_total{code=\"200\"}".repeat(10_000);
        let streamed = zstd::encode_all(&raw[..], 1).unwrap();
        assert_eq!(get_frame_content_size(&streamed).ok().flatten(), None);
        let twice = [&streamed[..], &zstd(b"and another").unwrap()].concat();
        let back = unzstd(&twice, 1 << 20).unwrap();
        assert_eq!(back, [&raw[..], b"and another"].concat());
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error_and_no_more_than_that() {
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
    fn a_bomb_is_stopped() {
        let bomb = zstd(&vec![0; 1 << 20]).unwrap();
        assert!(bomb.len() < 200);
        let error = unzstd(&bomb, 1000).unwrap_err();
        assert_eq!(error.to_string(), "more than 1000 bytes once decompressed");
    }
}
