//! Decompresses the bodies of clients, step by step within the limits.
//!
//! This module does not use `mesh_wire::compression`, which serves our own services, for
//! two reasons. Clients also send deflate. And the memory budget must admit the output step
//! by step, so that a decompression bomb fails early.

use std::io::{BufRead, Read};

use bytes::Bytes;
use mesh_wire::compression::WINDOW_LOG;

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
    Deflate,
}

/// Bytes to decompress per step.
const STEP: usize = 64 << 10;

// === impl Compression ===

impl Compression {
    /// Parses the value of a `Content-Encoding` or `grpc-encoding` header.
    ///
    /// # Errors
    /// Returns [`PushError::Encoding`] if the compression is not supported.
    pub(crate) fn from_header(name: Option<&[u8]>) -> Result<Self, PushError> {
        match name {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"zstd") => Ok(Self::Zstd),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(other) => {
                let name = String::from_utf8_lossy(other).into_owned();
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
        Compression::Deflate => {
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
    }
}

/// Reads the output of a decoder. Stops at most one step beyond `limit`.
fn read(
    mut decoder: impl Read,
    what: &str,
    compressed_len: usize,
    limit: usize,
    permit: &mut Permit,
) -> Result<Bytes, PushError> {
    let mut bytes = Vec::new();
    loop {
        let step = (&mut decoder).take(STEP as u64).read_to_end(&mut bytes);
        let step = step.map_err(|error| PushError::Malformed(format!("{what}: {error}")))?;
        if bytes.len() > limit {
            return Err(too_large(limit));
        }
        if step == 0 {
            return Ok(bytes.into());
        }
        permit.grow_to(compressed_len + bytes.capacity())?;
    }
}

fn too_large(limit: usize) -> PushError {
    PushError::TooLarge {
        limit,
        stage: " once decompressed",
    }
}
