//! gRPC's message framing: a compression flag, a length and the message bytes
//! (`Length-Prefixed-Message` in the gRPC over HTTP/2 specification).

use std::cmp::Ordering;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};
use tonic::{body::Body, metadata::MetadataMap};

/// Error for a body that is not exactly one framed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gRPC frame: {0}")]
pub struct MalformedFrame(&'static str);

/// Size of a frame's header in bytes: the flag and the length.
pub const HEADER_BYTES: usize = 5;

/// Decodes a body of one frame. Returns the compression flag and the message bytes.
///
/// ```
/// use mesh_wire::otlp::frame;
///
/// let framed = frame::encode(false, b"message");
/// assert_eq!(frame::decode(framed)?, (false, "message".into()));
/// # Ok::<(), frame::MalformedFrame>(())
/// ```
///
/// # Errors
/// Returns an error unless the body is exactly one complete frame.
pub fn decode(mut framed: Bytes) -> Result<(bool, Bytes), MalformedFrame> {
    if framed.len() < HEADER_BYTES {
        return Err(MalformedFrame("truncated"));
    }
    let compressed = match framed.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(MalformedFrame("unknown compression flag")),
    };
    let len = framed.get_u32() as usize;
    match framed.len().cmp(&len) {
        Ordering::Less => Err(MalformedFrame("truncated")),
        Ordering::Greater => Err(MalformedFrame("more than one message")),
        Ordering::Equal => Ok((compressed, framed)),
    }
}

/// Encodes a message as one frame with the given compression flag.
pub fn encode(compressed: bool, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER_BYTES + message.len());
    framed.put_u8(u8::from(compressed));
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

/// Returns a successful gRPC response with one uncompressed message and metadata.
pub fn response(message: &[u8], metadata: MetadataMap) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let message = Full::new(encode(false, message));
    let body = message.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = metadata.into_headers();
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_exactly_one_message() {
        for (compressed, message) in [(false, &b"abc"[..]), (true, b"abc"), (false, b"")] {
            let whole = (compressed, Bytes::from_static(message));
            assert_eq!(decode(encode(compressed, message)), Ok(whole));
        }
        for (bytes, problem) in [
            (&b""[..], "truncated"),
            (b"\0\0\0\0", "truncated"),
            (b"\0\0\0\0\x02a", "truncated"),
            (b"\0\0\0\0\x01ab", "more than one message"),
            (b"\x02\0\0\0\0", "unknown compression flag"),
        ] {
            let error = decode(Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(error, MalformedFrame(problem));
        }
    }
}
