//! gRPC's framing of a message: a flag, a length, and the bytes (gRPC over HTTP/2,
//! "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::refusal::Refusal;

const HEADER: usize = 5;

/// Whether the only message of a request is compressed, and its bytes.
pub(super) fn unwrap(mut framed: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |what: &str| Refusal::Malformed(format!("gRPC frame: {what}"));
    if framed.len() < HEADER {
        return Err(malformed("cut off"));
    }
    let compressed = match framed.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(malformed("an unknown flag")),
    };
    let len = framed.get_u32() as usize;
    match framed.len() {
        there if there < len => Err(malformed("cut off")),
        there if there > len => Err(malformed("more than one message")),
        _ => Ok((compressed, framed)),
    }
}

/// Frames a message, which is not compressed.
pub(super) fn wrap(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_message() {
        assert_eq!(
            unwrap(wrap(b"abc")),
            Ok((false, Bytes::from_static(b"abc")))
        );
        assert_eq!(unwrap(wrap(b"")), Ok((false, Bytes::new())));
        for (bytes, problem) in [
            (&b""[..], "cut off"),
            (b"\0\0\0\0", "cut off"),
            (b"\0\0\0\0\x02a", "cut off"),
            (b"\0\0\0\0\x01ab", "more than one message"),
            (b"\x02\0\0\0\0", "an unknown flag"),
        ] {
            let error = unwrap(Bytes::from_static(bytes)).unwrap_err().to_string();
            assert_eq!(error, format!("gRPC frame: {problem}"));
        }
    }
}
