//! Parses byte sizes in Prometheus's notation: `15MB`, `1GiB`. All units are powers of 1024.

/// Error for a text that is not a byte size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a size, expected a number with a unit B, KB, MB, GB, TB, PB or EB, such as 15MB"
)]
pub struct ParseSizeError(String);

/// Parses a size and returns it in bytes. `0` needs no unit.
///
/// # Errors
/// Returns an error if the number or the unit is missing or invalid, or if the size is too
/// large.
pub fn parse(text: &str) -> Result<u64, ParseSizeError> {
    if text == "0" {
        return Ok(0);
    }
    bytes(text).ok_or_else(|| ParseSizeError(text.to_owned()))
}

fn bytes(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit_at].parse().ok().filter(|n: &f64| *n >= 0.0)?;
    let prefix = match &text[unit_at..] {
        "B" => "",
        unit => unit.strip_suffix("iB").or(unit.strip_suffix('B'))?,
    };
    let power = ["", "K", "M", "G", "T", "P", "E"]
        .iter()
        .position(|p| *p == prefix)?;
    let size = number * 1024f64.powi(power as i32);
    (size < u64::MAX as f64).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units_as_powers_of_1024() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("10B"), Ok(10));
        assert_eq!(parse("15MB"), Ok(15 << 20));
        assert_eq!(parse("15MiB"), Ok(15 << 20));
        assert_eq!(parse("1.5KB"), Ok(1536));
    }

    #[test]
    fn rejects_other_texts() {
        for text in ["", "100", "MB", "-1MB", "1mb", "1XB", "99999999EB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
