//! snappy: one block, or a stream of chunks in the framing format.
//!
//! The OpenTelemetry Collector sent framed streams under the name `snappy` for years. Newer
//! versions send a block, and call a stream `x-snappy-framed`. So the bytes decide.

use bytes::Bytes;
use snap::raw;

use super::too_large;
use crate::{admission::Permit, push_error::PushError};

/// First chunk of each framed stream.
const STREAM_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Returns true if a body is in the framing format.
pub(super) fn is_framed(compressed: &[u8]) -> bool {
    compressed.starts_with(STREAM_IDENTIFIER)
}

/// Decompresses one block. Its first bytes are the size of the output, which is checked
/// before any memory is allocated.
pub(super) fn decompress_block(
    compressed: &[u8],
    limit: usize,
    permit: &mut Permit,
) -> Result<Bytes, PushError> {
    let malformed = |error| PushError::Malformed(format!("snappy: {error}"));
    let len = raw::decompress_len(compressed).map_err(malformed)?;
    if len > limit {
        return Err(too_large(limit));
    }
    permit.grow_to(compressed.len() + len)?;
    let bytes = raw::Decoder::new()
        .decompress_vec(compressed)
        .map_err(malformed)?;
    Ok(bytes.into())
}
