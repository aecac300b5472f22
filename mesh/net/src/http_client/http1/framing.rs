//! Finds the end of a response body.

/// Length of a response body. Tracks how much of it has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Number of bytes that are still missing.
    Length(u64),
    /// Body in chunks, with their sizes before them.
    Chunked(Chunks),
    /// Body that ends with the connection.
    UntilClose,
}

/// Position in a chunked body. hyper checks its syntax; this only finds its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// Line with the size of a chunk.
    Size {
        size: u64,
        /// True after the digits.
        after: bool,
    },
    /// Content of a chunk, with the number of bytes that are still missing.
    Content(u64),
    /// Line end after a chunk.
    ContentEnd,
    /// Line of the trailer.
    Trailer {
        /// True if the line has no characters yet.
        empty: bool,
    },
    /// End of the body.
    End,
}

// === impl Framing ===

impl Framing {
    /// Returns the framing of a response without a body.
    pub(super) fn empty() -> Self {
        Self::Length(0)
    }

    /// Returns the framing of a body of `length` bytes.
    pub(super) fn length(length: u64) -> Self {
        Self::Length(length)
    }

    /// Returns the framing of a body in chunks.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks::START)
    }

    /// Moves forward over `bytes`. Returns the number of those that belong to the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(missing) => pass(missing, bytes.len()),
            Self::Chunked(chunks) => chunks.advance(bytes),
            Self::UntilClose => bytes.len(),
        }
    }

    /// Returns true at the end of the body.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::End))
    }
}

// === impl Chunks ===

impl Chunks {
    const START: Self = Self::Size {
        size: 0,
        after: false,
    };

    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && *self != Self::End {
            match self {
                Self::Content(missing) => {
                    at += pass(missing, bytes.len() - at);
                    if *missing == 0 {
                        *self = Self::ContentEnd;
                    }
                }
                _ => {
                    self.step(bytes[at]);
                    at += 1;
                }
            }
        }
        at
    }

    /// Moves forward over one byte outside of the content.
    fn step(&mut self, byte: u8) {
        match self {
            Self::Size { size: 0, .. } if byte == b'\n' => *self = Self::Trailer { empty: true },
            Self::Size { size, .. } if byte == b'\n' => *self = Self::Content(*size),
            Self::Size { size, after } => match (byte as char).to_digit(16) {
                Some(digit) if !*after => {
                    *size = size.saturating_mul(16).saturating_add(digit.into());
                }
                _ => *after = true,
            },
            Self::ContentEnd if byte == b'\n' => *self = Self::START,
            Self::Trailer { empty: true } if byte == b'\n' => *self = Self::End,
            Self::Trailer { empty } => {
                *empty = byte == b'\n' || (*empty && byte == b'\r');
            }
            Self::ContentEnd | Self::Content(_) | Self::End => {}
        }
    }
}

/// Subtracts up to `available` bytes from `missing`. Returns how many it subtracted.
fn pass(missing: &mut u64, available: usize) -> usize {
    let passed = usize::try_from(*missing).map_or(available, |missing| missing.min(available));
    *missing -= passed as u64;
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_wherever_the_bytes_are_cut() {
        let next = b"HTTP/1.1 200";
        for (framing, body) in [
            (Framing::length as fn(u64) -> Framing, &b"hello"[..]),
            (|_| Framing::chunked(), b"5\r\nhello\r\n0\r\n\r\n"),
            (
                |_| Framing::chunked(),
                b"0A;x=10\r\n0\r\n\r\n01234\r\n1 \r\n\n\r\n000\r\n\r\n",
            ),
            (
                |_| Framing::chunked(),
                b"1\r\na\r\n0\r\nA: b\r\n\tc\r\nD: e\r\n\r\n",
            ),
        ] {
            let bytes = [body, next].concat();
            for cut in 0..bytes.len() {
                let mut framing = framing(5);
                let first = framing.advance(&bytes[..cut]);
                assert_eq!(framing.is_complete(), first == body.len());
                let rest = framing.advance(&bytes[first..]);
                assert_eq!(first + rest, body.len(), "{body:?} cut at {cut}");
                assert!(framing.is_complete());
            }
        }
    }

    #[test]
    fn follows_a_body_until_the_connection_closes() {
        let mut framing = Framing::UntilClose;
        assert_eq!(framing.advance(b"0\r\n\r\n"), 5);
        assert!(!framing.is_complete());
    }
}
