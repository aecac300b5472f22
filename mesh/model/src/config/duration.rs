//! Parses and formats durations in Prometheus's notation: `1h30m`, `15s`, `2w`.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Error for a text that is not a Prometheus duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a duration, expected whole numbers with the units y, w, d, h, m, s, ms, largest first, such as 1h30m"
)]
pub struct ParseDurationError(String);

/// Parses a duration. Each number needs a unit, except in the duration `0`.
///
/// ```
/// use std::time::Duration;
///
/// use mesh_model::config::duration;
///
/// assert_eq!(duration::parse("1h30m")?, Duration::from_secs(5400));
/// # Ok::<(), duration::ParseDurationError>(())
/// ```
///
/// # Errors
/// Returns an error if a number or unit is missing, a unit is unknown or out of order, or
/// the duration is too large.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    sum(text)
        .map(Duration::from_millis)
        .ok_or_else(|| ParseDurationError(text.to_owned()))
}

/// Formats a duration with as few units as possible, as Prometheus does.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, millis) in UNITS {
        // Years, weeks and days are used only if they leave no remainder.
        let only_exact = matches!(unit, "y" | "w" | "d");
        if rest >= millis && (!only_exact || rest.is_multiple_of(millis)) {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    text
}

/// Sums up the parts of a duration in milliseconds. Returns `None` for invalid text.
fn sum(text: &str) -> Option<u64> {
    let (mut rest, mut units, mut total) = (text, &UNITS[..], 0u64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let at = units.iter().position(|(unit, _)| *unit == &rest[..end])?;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = &rest[end..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_formats_durations() {
        for (text, millis) in [
            ("15s", 15_000),
            ("1h30m", 5_400_000),
            ("2w", 1_209_600_000),
            ("1y", 31_536_000_000),
            ("1m500ms", 60_500),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(text), Ok(duration), "{text}");
            assert_eq!(format(duration), text);
        }
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(format(Duration::from_secs(90_000)), "25h");
    }

    #[test]
    fn rejects_other_texts() {
        for text in [
            "",
            "1",
            "s",
            "1.5s",
            "-1h",
            "1s1h",
            "1s1s",
            "1 s",
            "1M",
            "99999999999y",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
