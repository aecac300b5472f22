//! Parses numbers like Prometheus, which uses Go's `strconv.ParseFloat`.

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
