//! Reads the first frame of an HTTP/2 server: its settings (RFC 9113, section 6.5).

/// Result of looking at the first bytes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settings {
    /// More bytes are needed.
    Incomplete,
    /// The server allows this many requests in flight.
    MaxStreams(u32),
    /// The server names no limit, or sends something else.
    Unlimited,
}

/// Size of the head of a frame in bytes.
const HEAD: usize = 9;
/// Maximum size of the frame in bytes. Servers send fewer than ten settings of six bytes.
const MAX_FRAME: usize = 1 << 10;
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;

// === impl Settings ===

impl Settings {
    /// Looks for the limit in the first `bytes` of a server.
    pub(super) fn find(bytes: &[u8]) -> Self {
        let Some(([a, b, c, kind, ..], rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Self::Incomplete;
        };
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if *kind != SETTINGS || length > MAX_FRAME {
            return Self::Unlimited;
        }
        let Some(payload) = rest.get(..length) else {
            return Self::Incomplete;
        };
        let (settings, _) = payload.as_chunks::<6>();
        // The last one of equal settings counts.
        let limit = settings.iter().rev().find_map(|[a, b, value @ ..]| {
            (u16::from_be_bytes([*a, *b]) == MAX_CONCURRENT_STREAMS)
                .then(|| u32::from_be_bytes(*value))
        });
        limit.map_or(Self::Unlimited, Self::MaxStreams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_limit_in_the_first_frame() {
        let window = b"\x00\x04\x00\x01\x00\x00";
        let limit = b"\x00\x03\x00\x00\x00\x64";
        let frame = |kind: u8, settings: &[&[u8]]| {
            let payload = settings.concat();
            let head = [0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0];
            [&head[..], &payload].concat()
        };
        let whole = frame(SETTINGS, &[window, limit]);
        assert_eq!(Settings::find(&whole), Settings::MaxStreams(100));
        for end in 0..whole.len() {
            assert_eq!(Settings::find(&whole[..end]), Settings::Incomplete, "{end}");
        }
        for other in [
            frame(SETTINGS, &[]),
            frame(SETTINGS, &[window]),
            frame(7, &[limit]),
            b"HTTP/1.1 200 OK\r\n".to_vec(),
        ] {
            assert_eq!(Settings::find(&other), Settings::Unlimited, "{other:?}");
        }
    }
}
