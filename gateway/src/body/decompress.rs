//! Decompresses the bodies of clients, step by step within the limits.
//!
//! This module does not use `mesh_wire::compression`, which serves our own services, for
//! two reasons. Clients also send the other encodings that the OpenTelemetry Collector
//! accepts. And the memory budget must admit the output step by step, so that a
//! decompression bomb fails early.

mod lz4;
mod snappy;

use std::io::{BufRead, Read};

use bytes::Bytes;
use mesh_wire::compression::WINDOW_LOG;

use super::grow;
use crate::{admission::Permit, push_error::PushError};

/// Compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// No compression.
    Identity,
    /// gzip, which every SDK supports.
    Gzip,
    /// zstd.
    Zstd,
    /// zlib, which HTTP calls deflate.
    Zlib,
    /// snappy, as one block or in its framing format.
    Snappy,
    /// lz4 in its frame format.
    Lz4,
}

/// Names of the supported compressions, for headers and messages.
pub(crate) const SUPPORTED: &str = "gzip, zstd, deflate, zlib, snappy, x-snappy-framed, lz4";

/// Bytes to decompress per step.
const STEP: usize = 64 << 10;

// === impl Compression ===

impl Compression {
    /// Parses the value of a `Content-Encoding` or `grpc-encoding` header, in any letter
    /// case (RFC 9110, section 8.4.1).
    ///
    /// # Errors
    /// Returns [`PushError::Encoding`] if the compression is not supported.
    pub(crate) fn from_header(name: Option<&[u8]>) -> Result<Self, PushError> {
        let name = name.unwrap_or_default().trim_ascii();
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"zstd" => Ok(Self::Zstd),
            b"deflate" | b"zlib" => Ok(Self::Zlib),
            b"snappy" | b"x-snappy-framed" => Ok(Self::Snappy),
            b"lz4" => Ok(Self::Lz4),
            _ => {
                let name = String::from_utf8_lossy(name).into_owned();
                Err(PushError::Encoding(name))
            }
        }
    }
}

/// Decompresses a body into at most `limit` bytes.
pub(super) fn decompress(
    bytes: Bytes,
    compression: Compression,
    limit: usize,
    permit: &mut Permit,
) -> Result<Bytes, PushError> {
    let compressed = &*bytes;
    match compression {
        Compression::Identity if bytes.len() > limit => Err(too_large(limit)),
        Compression::Identity => Ok(bytes),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(compressed);
            read(decoder, "gzip", bytes.len(), limit, permit)
        }
        Compression::Zlib => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(compressed);
            let all = read(&mut decoder, "deflate", bytes.len(), limit, permit)?;
            match decoder.into_inner().fill_buf() {
                Ok([]) => Ok(all),
                _ => Err(PushError::Malformed(
                    "deflate: bytes after the end".to_owned(),
                )),
            }
        }
        Compression::Zstd => {
            let malformed = |error| PushError::Malformed(format!("zstd: {error}"));
            let mut decoder = zstd::Decoder::with_buffer(compressed).map_err(malformed)?;
            decoder.window_log_max(WINDOW_LOG).map_err(malformed)?;
            read(decoder, "zstd", bytes.len(), limit, permit)
        }
        Compression::Snappy if snappy::is_framed(compressed) => {
            let decoder = snap::read::FrameDecoder::new(compressed);
            read(decoder, "snappy", bytes.len(), limit, permit)
        }
        Compression::Snappy => snappy::decompress_block(compressed, limit, permit),
        Compression::Lz4 => {
            let used = bytes.len() + lz4::buffer_bytes(compressed);
            read(lz4::Decoder::new(compressed), "lz4", used, limit, permit)
        }
    }
}

/// Reads the output of a decoder. Stops at most one step beyond `limit`. The decoder and
/// its input occupy `used` bytes.
fn read(
    mut decoder: impl Read,
    what: &str,
    used: usize,
    limit: usize,
    permit: &mut Permit,
) -> Result<Bytes, PushError> {
    permit.grow_to(used)?;
    let mut bytes = Vec::new();
    let most = used.saturating_mul(8).min(STEP);
    loop {
        let len = bytes.len() + most;
        grow(&mut bytes, len, used, permit)?;
        let step = (&mut decoder).take(most as u64).read_to_end(&mut bytes);
        let step = step.map_err(|error| PushError::Malformed(format!("{what}: {error}")))?;
        if bytes.len() > limit {
            return Err(too_large(limit));
        }
        if step == 0 {
            return Ok(bytes.into());
        }
    }
}

fn too_large(limit: usize) -> PushError {
    PushError::TooLarge {
        limit,
        stage: " once decompressed",
    }
}
