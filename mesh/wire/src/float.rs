//! Formats floats as label values, in the same form as Prometheus.

/// Formats the value of an `le` or `quantile` label of a scraped series.
///
/// The text is the shortest one that parses to the same value. It always contains a
/// fraction or an exponent.
///
/// ```
/// use mesh_wire::float::openmetrics;
///
/// assert_eq!(openmetrics(1.0), "1.0");
/// assert_eq!(openmetrics(0.25), "0.25");
/// assert_eq!(openmetrics(1e6), "1e+06");
/// assert_eq!(openmetrics(f64::INFINITY), "+Inf");
/// ```
pub fn openmetrics(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    // Prometheus does not write the sign of a negative zero.
    let value = value + 0.0;
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's shortest %g uses an exponent outside this range.
    if (-4..6).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Formats the value of an `le` or `quantile` label of OTLP data: without an exponent, and
/// with a fraction only if the value has one.
///
/// ```
/// use mesh_wire::float::plain;
///
/// assert_eq!(plain(1.0), "1");
/// assert_eq!(plain(1e6), "1000000");
/// ```
pub fn plain(value: f64) -> String {
    special(value).map_or_else(|| format!("{value}"), str::to_owned)
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ if value.is_nan() => Some("NaN"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parses_to_the_same_value(value: f64) {
            prop_assert_eq!(openmetrics(value).parse::<f64>().unwrap(), value);
            prop_assert_eq!(plain(value).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn a_negative_zero_has_no_sign() {
        assert_eq!(openmetrics(-0.0), "0.0");
    }

    /// The expected texts are those of Go's `strconv.FormatFloat(f, 'g', -1, 64)`, with
    /// `.0` added to integers.
    #[test]
    fn formats_scraped_label_values_as_go_does() {
        for (value, want) in [
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (10.0, "10.0"),
            (100_000.0, "100000.0"),
            (123_456.0, "123456.0"),
            (999_999.0, "999999.0"),
            (1_234_567.0, "1.234567e+06"),
            (1_000_000.5, "1.0000005e+06"),
            (12_345_678.5, "1.23456785e+07"),
            (1e15, "1e+15"),
            (1e21, "1e+21"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000_123_456, "0.000123456"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(openmetrics(value), want, "{value:e}");
        }
    }
}
