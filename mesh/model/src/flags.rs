//! Values of command-line flags in Prometheus's notation: durations such as `55m` and sizes such
//! as `512MiB`.
//!
//! A number without a unit is valid too. The parser of each flag names its unit.

use std::{fmt, str::FromStr, time::Duration};

use crate::config::{duration, size};

/// Explanation of the notation, for the end of a program's `--help`.
pub const NOTATION: &str = "\
A DURATION is written as 250ms, 30s or 1h30m, with the units y, w, d, h, m, s and ms. A number \
without a unit counts seconds, unless the flag says otherwise.
A SIZE is written as 512MiB or 1.5GiB, with the units B, KiB, MiB, GiB, TiB, PiB and EiB. KB, MB \
and so on are the same powers of 1024. A number without a unit counts bytes.
An ADDRESS is HOST:PORT, [IPV6]:PORT, or :PORT for all interfaces.";

/// A number of bytes, in Prometheus's notation.
///
/// ```
/// use mesh_model::flags::ByteSize;
///
/// let size: ByteSize = "512MiB".parse()?;
/// assert_eq!(size, ByteSize(512 << 20));
/// assert_eq!(size.to_string(), "512MiB");
/// # Ok::<(), mesh_model::flags::ParseFlagError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Error for a flag value that is not a duration or not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} {problem}; expected {expected}")]
pub struct ParseFlagError {
    found: String,
    problem: &'static str,
    expected: &'static str,
}

/// Maximum duration: about 292 years, as in Prometheus, which counts nanoseconds in 64 bits.
const MAX_DURATION: Duration = Duration::from_nanos(i64::MAX as u64);
/// Maximum size: 8 EiB - 1 B, as in Prometheus, which counts bytes in 64 bits with a sign.
const MAX_SIZE: u64 = i64::MAX as u64;

const SECONDS: &str = "a duration such as 250ms, 30s or 1h30m, or a number of seconds";
const MILLISECONDS: &str = "a duration such as 250ms, 30s or 1h30m, or a number of milliseconds";
const BYTES: &str = "a size such as 512MiB or 1.5GiB, or a number of bytes";

/// Parses a duration. A number without a unit counts seconds.
///
/// # Errors
/// Returns an error if the text is not a duration, or more than 292 years.
pub fn seconds(text: &str) -> Result<Duration, ParseFlagError> {
    duration_of(text, 1000, SECONDS)
}

/// Parses a duration. A number without a unit counts milliseconds.
///
/// # Errors
/// Returns an error if the text is not a duration, or more than 292 years.
pub fn milliseconds(text: &str) -> Result<Duration, ParseFlagError> {
    duration_of(text, 1, MILLISECONDS)
}

/// Parses a duration. A number without a unit counts units of `unit_ms` milliseconds.
fn duration_of(
    text: &str,
    unit_ms: u64,
    expected: &'static str,
) -> Result<Duration, ParseFlagError> {
    let error = |problem| ParseFlagError {
        found: text.to_owned(),
        problem,
        expected,
    };
    let parsed = if is_number(text) {
        let number = text.parse::<u64>().ok();
        let millis = number.and_then(|number| number.checked_mul(unit_ms));
        millis
            .map(Duration::from_millis)
            .ok_or_else(|| error("is too long"))?
    } else {
        duration::parse(text).map_err(|_| error("is not a duration"))?
    };
    if parsed > MAX_DURATION {
        return Err(error("is too long"));
    }
    Ok(parsed)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

// === impl ByteSize ===

impl ByteSize {
    /// Number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Number of bytes for a size in memory, at most `usize::MAX`.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ParseFlagError;

    fn from_str(text: &str) -> Result<Self, ParseFlagError> {
        let error = |problem| ParseFlagError {
            found: text.to_owned(),
            problem,
            expected: BYTES,
        };
        let bytes = if is_number(text) {
            text.parse().map_err(|_| error("is too large"))?
        } else {
            size::parse(text).map_err(|_| error("is not a size"))?
        };
        if bytes > MAX_SIZE {
            return Err(error("is too large"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut number, mut prefixes) = (self.0, "KMGTPE".chars());
        let mut prefix = None;
        while number != 0 && number.is_multiple_of(1024) {
            number /= 1024;
            prefix = prefixes.next();
        }
        match prefix {
            Some(prefix) => write!(f, "{number}{prefix}iB"),
            None => write!(f, "{number}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_durations_with_and_without_a_unit() {
        for (text, in_seconds, in_milliseconds) in [
            ("55m", 3_300_000, 3_300_000),
            ("1h30m", 5_400_000, 5_400_000),
            ("250ms", 250, 250),
            ("1y", 31_536_000_000, 31_536_000_000),
            ("292y", 9_208_512_000_000, 9_208_512_000_000),
            ("0", 0, 0),
            ("0s", 0, 0),
            ("250", 250_000, 250),
            ("007", 7_000, 7),
        ] {
            let millis = Duration::from_millis;
            assert_eq!(seconds(text), Ok(millis(in_seconds)), "{text}");
            assert_eq!(milliseconds(text), Ok(millis(in_milliseconds)), "{text}");
        }
    }

    #[test]
    fn rejects_other_durations() {
        for (text, problem) in [
            ("", "is not a duration"),
            ("5x", "is not a duration"),
            ("-5", "is not a duration"),
            ("-5s", "is not a duration"),
            ("+5", "is not a duration"),
            ("1.5s", "is not a duration"),
            ("1.5", "is not a duration"),
            ("s", "is not a duration"),
            ("1s1h", "is not a duration"),
            (" 5s", "is not a duration"),
            ("5 s", "is not a duration"),
            ("5M", "is not a duration"),
            ("٥", "is not a duration"),
            ("293y", "is too long"),
            ("18446744073709551615", "is too long"),
            ("99999999999999999999", "is too long"),
        ] {
            let error = seconds(text).unwrap_err().to_string();
            assert_eq!(error, format!("{text:?} {problem}; expected {SECONDS}"));
            let error = milliseconds(text).unwrap_err().to_string();
            assert!(error.ends_with("or a number of milliseconds"), "{error}");
        }
    }

    #[test]
    fn parses_and_formats_sizes() {
        for (text, bytes, formatted) in [
            ("0", 0, "0B"),
            ("0B", 0, "0B"),
            ("1", 1, "1B"),
            ("1000", 1000, "1000B"),
            ("10B", 10, "10B"),
            ("1024", 1 << 10, "1KiB"),
            ("4KB", 4 << 10, "4KiB"),
            ("512MiB", 512 << 20, "512MiB"),
            ("512MB", 512 << 20, "512MiB"),
            ("536870912", 512 << 20, "512MiB"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            ("1025KiB", 1025 << 10, "1025KiB"),
            ("2TB", 2 << 40, "2TiB"),
            ("3PiB", 3 << 50, "3PiB"),
            ("7EB", 7 << 60, "7EiB"),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), formatted);
            assert_eq!(formatted.parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!("9223372036854775807".parse(), Ok(ByteSize(MAX_SIZE)));
    }

    #[test]
    fn rejects_other_sizes() {
        for (text, problem) in [
            ("", "is not a size"),
            ("5x", "is not a size"),
            ("-5", "is not a size"),
            ("-5MB", "is not a size"),
            ("1.5", "is not a size"),
            ("MB", "is not a size"),
            ("5mb", "is not a size"),
            ("5M", "is not a size"),
            ("5 MB", "is not a size"),
            ("8EiB", "is too large"),
            ("9223372036854775808", "is too large"),
            ("99999999999999999999", "is too large"),
            ("16EB", "is not a size"),
        ] {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert_eq!(error, format!("{text:?} {problem}; expected {BYTES}"));
        }
    }
}
