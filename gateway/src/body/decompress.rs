//! Decompression, within limits however small the bomb.

use std::io::{BufRead, Read};

use bytes::Bytes;
use mesh::compression::WINDOW_LOG;

use crate::{admission::Admitted, refusal::Refusal};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    Identity,
    /// gzip, which every SDK speaks.
    Gzip,
    /// zstd.
    Zstd,
    /// zlib, which HTTP calls deflate.
    Deflate,
}

/// How much is decompressed at a time.
const STEP: usize = 64 << 10;

// === impl Compression ===

impl Compression {
    /// The compression of this name.
    pub(crate) fn named(name: Option<&[u8]>) -> Result<Self, Refusal> {
        match name {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"zstd") => Ok(Self::Zstd),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(other) => {
                let name = String::from_utf8_lossy(other).into_owned();
                Err(Refusal::Encoding(name))
            }
        }
    }
}

/// Decompresses a body.
pub(super) fn decompress(
    bytes: Bytes,
    compression: Compression,
    limit: usize,
    admitted: &mut Admitted,
) -> Result<Bytes, Refusal> {
    let compressed = &*bytes;
    match compression {
        Compression::Identity if bytes.len() > limit => Err(too_large(limit)),
        Compression::Identity => Ok(bytes),
        Compression::Gzip => {
            let decoder = flate2::bufread::MultiGzDecoder::new(compressed);
            read(decoder, "gzip", bytes.len(), limit, admitted)
        }
        Compression::Deflate => {
            let mut decoder = flate2::bufread::ZlibDecoder::new(compressed);
            let all = read(&mut decoder, "deflate", bytes.len(), limit, admitted)?;
            match decoder.into_inner().fill_buf() {
                Ok([]) => Ok(all),
                _ => Err(Refusal::Malformed(
                    "deflate: bytes after the end".to_owned(),
                )),
            }
        }
        Compression::Zstd => {
            let malformed = |error| Refusal::Malformed(format!("zstd: {error}"));
            let mut decoder = zstd::Decoder::with_buffer(compressed).map_err(malformed)?;
            decoder.window_log_max(WINDOW_LOG).map_err(malformed)?;
            read(decoder, "zstd", bytes.len(), limit, admitted)
        }
    }
}

/// Reads at most a step more than is allowed, however much there is.
fn read(
    mut decoder: impl Read,
    what: &str,
    held: usize,
    limit: usize,
    admitted: &mut Admitted,
) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::new();
    loop {
        let step = (&mut decoder).take(STEP as u64).read_to_end(&mut bytes);
        let step = step.map_err(|error| Refusal::Malformed(format!("{what}: {error}")))?;
        if bytes.len() > limit {
            return Err(too_large(limit));
        }
        if step == 0 {
            return Ok(bytes.into());
        }
        admitted.grow_to(held + bytes.capacity())?;
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::TooLarge {
        limit,
        what: " once decompressed",
    }
}
