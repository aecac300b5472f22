//! lz4 in its frame format.

use std::io::{self, ErrorKind, Read};

use lz4_flex::frame::FrameDecoder;

/// Decodes a sequence of lz4 frames. A frame without its end is an error.
pub(super) struct Decoder<'a> {
    frames: FrameDecoder<Input<'a>>,
    state: State,
}

/// The compressed bytes that are left.
struct Input<'a> {
    rest: &'a [u8],
    /// Set once the decoder wants more bytes than there are.
    is_starved: bool,
}

/// Position of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a frame.
    BetweenFrames,
    /// Within a frame, which ends with an end mark.
    InFrame,
    /// Within a frame of the legacy format, which has no end mark.
    InLegacyFrame,
}

/// First bytes of a frame in the legacy format.
const LEGACY_MAGIC: &[u8] = b"\x02\x21\x4c\x18";
/// Distance in bytes over which a block may refer to earlier ones.
const WINDOW: usize = 64 << 10;

/// Bytes of the buffers that the decoder allocates for a frame: one compressed block and
/// two decompressed ones.
pub(super) fn buffer_bytes(compressed: &[u8]) -> usize {
    let block = match compressed.get(5).map(|descriptor| descriptor >> 4 & 7) {
        _ if compressed.starts_with(LEGACY_MAGIC) => 8 << 20,
        Some(4) => 64 << 10,
        Some(5) => 256 << 10,
        Some(6) => 1 << 20,
        _ => 4 << 20,
    };
    3 * block + WINDOW
}

// === impl Decoder ===

impl<'a> Decoder<'a> {
    pub(super) fn new(compressed: &'a [u8]) -> Self {
        let input = Input {
            rest: compressed,
            is_starved: false,
        };
        Self {
            frames: FrameDecoder::new(input),
            state: State::BetweenFrames,
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.state == State::BetweenFrames {
                let rest = self.frames.get_ref().rest;
                if rest.is_empty() {
                    return Ok(0);
                }
                self.state = match rest.starts_with(LEGACY_MAGIC) {
                    true => State::InLegacyFrame,
                    false => State::InFrame,
                };
            }
            let len = self.frames.read(out)?;
            if len > 0 {
                return Ok(len);
            }
            if self.frames.get_ref().is_starved && self.state == State::InFrame {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.state = State::BetweenFrames;
        }
    }
}

// === impl Input ===

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.is_starved |= self.rest.is_empty() && !out.is_empty();
        self.rest.read(out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        Decoder::new(bytes).read_to_end(&mut decoded)?;
        Ok(decoded)
    }

    #[test]
    fn reads_frames_one_after_another() {
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(&frame(b"")).unwrap(), b"");
        let two = [frame(b"one "), frame(b"two")].concat();
        assert_eq!(decode(&two).unwrap(), b"one two");
    }

    #[test]
    fn refuses_a_truncated_frame() {
        let whole = frame(&b"http_requests_total".repeat(20_000));
        assert!(decode(&whole).is_ok());
        // Without the end mark, in the middle, and within the header.
        for len in [whole.len() - 4, whole.len() / 2, 6, 3] {
            assert!(decode(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(decode(b"not lz4 at all").is_err());
    }

    #[test]
    fn buffers_follow_the_block_size_of_the_frame() {
        for (size, bytes) in [(BlockSize::Max64KB, 64 << 10), (BlockSize::Max4MB, 4 << 20)] {
            let info = FrameInfo::new().block_size(size);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(b"x").unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(buffer_bytes(&frame), 3 * bytes + WINDOW);
        }
    }
}
