//! gRPC's framing of a message: a flag, a length, and the bytes (gRPC over HTTP/2,
//! "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};
use tonic::{body::Body, metadata::MetadataMap};

/// A body that is not one framed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gRPC frame: {0}")]
pub struct MalformedFrame(&'static str);

/// Bytes of the flag and the length.
pub const HEADER_BYTES: usize = 5;

/// Whether the only message of a body is compressed, and its bytes.
///
/// # Errors
/// Where there is none, or more.
pub fn unwrap(mut framed: Bytes) -> Result<(bool, Bytes), MalformedFrame> {
    if framed.len() < HEADER_BYTES {
        return Err(MalformedFrame("cut off"));
    }
    let compressed = match framed.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(MalformedFrame("an unknown flag")),
    };
    let len = framed.get_u32() as usize;
    match framed.len() {
        there if there < len => Err(MalformedFrame("cut off")),
        there if there > len => Err(MalformedFrame("more than one message")),
        _ => Ok((compressed, framed)),
    }
}

/// Frames a message, and says whether it is compressed.
pub fn wrap(compressed: bool, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER_BYTES + message.len());
    framed.put_u8(u8::from(compressed));
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

/// A successful answer: one message, which is not compressed, and metadata.
pub fn answer(message: &[u8], metadata: MetadataMap) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let message = Full::new(wrap(false, message));
    let body = message.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut answer = Response::new(Body::new(body));
    *answer.headers_mut() = metadata.into_headers();
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(header::CONTENT_TYPE, grpc);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_message() {
        for (compressed, message) in [(false, &b"abc"[..]), (true, b"abc"), (false, b"")] {
            let whole = (compressed, Bytes::from_static(message));
            assert_eq!(unwrap(wrap(compressed, message)), Ok(whole));
        }
        for (bytes, problem) in [
            (&b""[..], "cut off"),
            (b"\0\0\0\0", "cut off"),
            (b"\0\0\0\0\x02a", "cut off"),
            (b"\0\0\0\0\x01ab", "more than one message"),
            (b"\x02\0\0\0\0", "an unknown flag"),
        ] {
            let error = unwrap(Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(error, MalformedFrame(problem));
        }
    }
}
