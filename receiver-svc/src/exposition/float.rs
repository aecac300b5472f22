//! Parses numbers like Prometheus, which uses Go's `strconv.ParseFloat`.

use std::borrow::Cow;

/// Bits of every exposed NaN. The staleness marker is a NaN with other bits.
const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// Parses the value of a sample. Returns `None` if Prometheus would reject the text.
pub(super) fn value(text: &[u8]) -> Option<f64> {
    let value: f64 = fast_float2::parse(text).ok()?;
    if value.is_finite() {
        Some(value)
    } else {
        special(text, value)
    }
}

/// Parses the number in a label value, such as a bucket's bound. Returns `None` if Go's
/// `strconv.ParseFloat` would refuse the text.
///
/// In addition to the forms of a sample value, it accepts hexadecimal numbers with an
/// exponent, and underscores between digits: `0x1p4` and `1_000`.
pub(super) fn label_value(text: &[u8]) -> Option<f64> {
    let digits = without_underscores(text)?;
    value(&digits).or_else(|| hexadecimal(&digits))
}

/// Removes the underscores. Returns `None` if one of them is not between digits.
fn without_underscores(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'_') {
        return Some(Cow::Borrowed(text));
    }
    let unsigned = text.strip_prefix(b"+").or(text.strip_prefix(b"-"));
    let unsigned = unsigned.unwrap_or(text);
    let is_hexadecimal = has_hexadecimal_prefix(unsigned);
    let is_digit = |byte: Option<&u8>| {
        byte.is_some_and(|byte| match is_hexadecimal {
            // The prefix counts as a digit.
            true => byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X'),
            false => byte.is_ascii_digit(),
        })
    };
    let mut underscores = unsigned
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'_');
    let are_valid = underscores
        .all(|(at, _)| at > 0 && is_digit(unsigned.get(at - 1)) && is_digit(unsigned.get(at + 1)));
    let digits = || text.iter().copied().filter(|byte| *byte != b'_').collect();
    are_valid.then(|| Cow::Owned(digits()))
}

fn has_hexadecimal_prefix(unsigned: &[u8]) -> bool {
    matches!(unsigned, [b'0', b'x' | b'X', ..])
}

/// Parses a hexadecimal number with a binary exponent, such as `0x1.8p-3`.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (-1.0, unsigned),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if !has_hexadecimal_prefix(unsigned.as_bytes()) {
        return None;
    }
    let (digits, exponent) = unsigned[2..].split_once(['p', 'P'])?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut exponent: i32 = exponent.parse().ok()?;
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut mantissa = 0_u64;
    for (at, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let is_fraction = at >= whole.len();
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent = exponent.checked_sub(if is_fraction { 4 } else { 0 })?;
        } else {
            // The lowest bit keeps the rounding right.
            mantissa |= u64::from(digit != 0);
            exponent = exponent.checked_add(if is_fraction { 0 } else { 4 })?;
        }
    }
    let value = scale(mantissa as f64, exponent);
    value.is_finite().then_some(sign * value)
}

/// Multiplies `value` by a power of two.
fn scale(mut value: f64, exponent: i32) -> f64 {
    let mut rest = exponent.clamp(-3000, 3000);
    while rest != 0 {
        let step = rest.clamp(-1000, 1000);
        value *= 2_f64.powi(step);
        rest -= step;
    }
    value
}

/// Applies the rules of Go to a text that the decimal parser read as NaN or infinity.
#[cold]
fn special(text: &[u8], value: f64) -> Option<f64> {
    match (text, value.is_nan()) {
        // Go accepts NaN without a sign only.
        ([b'n' | b'N', ..], true) => Some(f64::from_bits(NORMAL_NAN)),
        (_, true) => None,
        // Go rejects digits that overflow a float. They do not become an infinity.
        _ if text.iter().any(u8::is_ascii_digit) => None,
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_numbers_that_go_accepts() {
        let good = |text: &str, want: f64| {
            assert_eq!(value(text.as_bytes()), Some(want), "{text}");
        };
        good("1", 1.0);
        good("+1", 1.0);
        good("-1.5", -1.5);
        good("1.", 1.0);
        good(".5", 0.5);
        good("00017", 17.0);
        good("1e5", 1e5);
        good("1E+5", 1e5);
        good("1e-400", 0.0);
        good("4.9e-324", 5e-324);
        good("1.7976931348623157e308", f64::MAX);
        good("inf", f64::INFINITY);
        good("+Inf", f64::INFINITY);
        good("-INFINITY", f64::NEG_INFINITY);
        for nan in ["nan", "NaN", "NAN"] {
            let bits = value(nan.as_bytes()).map(f64::to_bits);
            assert_eq!(bits, Some(NORMAL_NAN), "{nan}");
        }
    }

    #[test]
    fn label_values_may_be_hexadecimal_and_have_underscores() {
        let is = |text: &str, want: Option<f64>| {
            assert_eq!(label_value(text.as_bytes()), want, "{text}");
        };
        for (text, want) in [
            ("1", 1.0),
            ("-1_000.5_0", -1000.5),
            ("1e1_0", 1e10),
            ("0x1p4", 16.0),
            ("-0X1.8P-3", -0.1875),
            ("0x_1p4", 16.0),
            ("0x.8p1", 1.0),
            ("0xfffffffffffffffffp0", 295_147_905_179_352_830_000.0),
            ("0x8000000000000400000001p0", 1.547_425_049_106_725_7e26),
            ("0x1p-1074", 5e-324),
            ("0x1p-9999", 0.0),
        ] {
            is(text, Some(want));
        }
        for text in [
            "_1", "1_", "1__0", "1_e1", "1_.5", "0x10", "0xp1", "0x1p", "0x1p1024", "0b1",
        ] {
            is(text, None);
        }
    }

    #[test]
    fn rejects_the_numbers_that_go_rejects() {
        for bad in [
            "",
            "+",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "1e999",
            "-1e999",
            "+nan",
            "-nan",
            "nano",
            "in",
            "infinit",
            "infinity1",
            "1_2",
            "0x1p-3",
            "0x10",
            "1p3",
            "1 ",
            " 1",
            "1,5",
            "++1",
            "+-1",
            "true",
            "1\0",
            "é",
        ] {
            assert_eq!(value(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
