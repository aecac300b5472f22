//! Numbers as Prometheus reads them, that is as Go's `strconv.ParseFloat` does.

/// The bits of every NaN that a target exposes; another NaN marks staleness.
const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// The value of a sample, or `None` where Prometheus would not take the text.
pub(super) fn value(text: &[u8]) -> Option<f64> {
    let value: f64 = fast_float2::parse(text).ok()?;
    if value.is_finite() {
        Some(value)
    } else {
        special(text, value)
    }
}

/// What the reader of decimal numbers found to be infinite or not a number.
#[cold]
fn special(text: &[u8], value: f64) -> Option<f64> {
    match (text, value.is_nan()) {
        // Go knows a NaN without a sign only.
        ([b'n' | b'N', ..], true) => Some(f64::from_bits(NORMAL_NAN)),
        (_, true) => None,
        // A number too big for a float is an error there, not an infinity.
        _ if text.iter().any(u8::is_ascii_digit) => None,
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
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
    fn what_go_refuses_is_refused() {
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
