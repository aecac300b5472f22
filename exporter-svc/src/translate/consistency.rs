//! Checks native histograms for consistency.
//!
//! Prometheus and Cortex refuse an inconsistent histogram. Some backends then refuse the
//! whole request, with the samples of other clients. The exporter therefore rejects such
//! a histogram itself. The rules are those of Prometheus's storage.

use proto::v1::{
    BucketSpan, Histogram,
    histogram::{Count, ZeroCount},
};

use super::exponential::{CUSTOM_BUCKETS, SCHEMAS};

/// Inconsistency of a native histogram.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Inconsistency {
    /// Unknown schema.
    #[error("schema {0}, expected -4 to 8, or -53 for custom bounds")]
    Schema(i32),
    /// Number of buckets differs between spans and counts.
    #[error("spans of {spans} buckets, but {counts} bucket counts")]
    Spans {
        /// Number of buckets that the spans cover.
        spans: u64,
        /// Number of bucket counts.
        counts: u64,
    },
    /// Overlapping spans, or custom buckets below the first one.
    #[error("span with offset {0}, expected 0 or more")]
    Offset(i32),
    /// Negative count.
    #[error("negative count, or one above 9223372036854775807")]
    NegativeCount,
    /// Sum of the buckets differs from the count.
    #[error("count {count}, but {buckets} observations in the buckets")]
    Count {
        /// Count of the histogram.
        count: u64,
        /// Number of observations in all buckets.
        buckets: u128,
    },
    /// Custom bounds that do not ascend, or are not finite.
    #[error("custom bounds that do not ascend or are not finite, at {0}")]
    Bounds(f64),
    /// Bucket above the last custom bound.
    #[error("buckets up to number {found}, but custom bounds for only {expected}")]
    TooFewBounds {
        /// Number of the last bucket, from 1.
        found: i64,
        /// Number of buckets that the bounds define.
        expected: i64,
    },
    /// Custom bounds together with fields of exponential buckets.
    #[error("custom bounds and exponential buckets in one histogram")]
    Mixed,
}

/// Checks a native histogram.
///
/// # Errors
/// Returns the first inconsistency.
pub fn check(histogram: &Histogram) -> Result<(), Inconsistency> {
    if histogram.schema == CUSTOM_BUCKETS {
        check_custom(histogram)?;
    } else if !SCHEMAS.contains(&histogram.schema) {
        return Err(Inconsistency::Schema(histogram.schema));
    } else if !histogram.custom_values.is_empty() {
        return Err(Inconsistency::Mixed);
    }
    if is_float(histogram) {
        check_spans(&histogram.positive_spans, histogram.positive_counts.len())?;
        check_spans(&histogram.negative_spans, histogram.negative_counts.len())?;
        return check_float_counts(histogram);
    }
    check_spans(&histogram.positive_spans, histogram.positive_deltas.len())?;
    check_spans(&histogram.negative_spans, histogram.negative_deltas.len())?;
    check_integer_counts(histogram)
}

fn is_float(histogram: &Histogram) -> bool {
    matches!(histogram.count, Some(Count::CountFloat(_)))
}

fn check_spans(spans: &[BucketSpan], counts: usize) -> Result<(), Inconsistency> {
    if let Some(span) = spans.iter().skip(1).find(|span| span.offset < 0) {
        return Err(Inconsistency::Offset(span.offset));
    }
    let (spans, counts) = (buckets(spans), counts as u64);
    (spans == counts)
        .then_some(())
        .ok_or(Inconsistency::Spans { spans, counts })
}

fn buckets(spans: &[BucketSpan]) -> u64 {
    spans.iter().map(|span| u64::from(span.length)).sum()
}

fn check_float_counts(histogram: &Histogram) -> Result<(), Inconsistency> {
    let count = match histogram.count {
        Some(Count::CountFloat(count)) => count,
        _ => 0.0,
    };
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::ZeroCountFloat(count)) => count,
        _ => 0.0,
    };
    let counts = histogram
        .positive_counts
        .iter()
        .chain(&histogram.negative_counts);
    let is_negative = counts.chain([&count, &zero_count]).any(|n| *n < 0.0);
    (!is_negative)
        .then_some(())
        .ok_or(Inconsistency::NegativeCount)
}

fn check_integer_counts(histogram: &Histogram) -> Result<(), Inconsistency> {
    let count = match histogram.count {
        Some(Count::CountInt(count)) => count,
        _ => 0,
    };
    let zero_count = match histogram.zero_count {
        Some(ZeroCount::ZeroCountInt(count)) => count,
        _ => 0,
    };
    let buckets = u128::from(zero_count)
        + sum(&histogram.positive_deltas)?
        + sum(&histogram.negative_deltas)?;
    // Observations of NaN add to the count but to no bucket.
    let agrees =
        buckets == count.into() || (histogram.sum.is_nan() && buckets <= u128::from(count));
    agrees
        .then_some(())
        .ok_or(Inconsistency::Count { count, buckets })
}

/// Sum of delta-encoded counts.
fn sum(deltas: &[i64]) -> Result<u128, Inconsistency> {
    let (mut count, mut sum) = (0i64, 0u128);
    for delta in deltas {
        count = count.wrapping_add(*delta);
        sum += u128::try_from(count).map_err(|_| Inconsistency::NegativeCount)?;
    }
    Ok(sum)
}

fn check_custom(histogram: &Histogram) -> Result<(), Inconsistency> {
    let bounds = &histogram.custom_values;
    if let Some(bound) = bounds.iter().find(|bound| bound.is_nan()) {
        return Err(Inconsistency::Bounds(*bound));
    }
    if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
        return Err(Inconsistency::Bounds(pair[1]));
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return Err(Inconsistency::Bounds(f64::INFINITY));
    }
    let has_zeros = match histogram.zero_count {
        Some(ZeroCount::ZeroCountInt(count)) => count != 0,
        Some(ZeroCount::ZeroCountFloat(count)) => count != 0.0,
        None => false,
    };
    let has_negatives = !histogram.negative_spans.is_empty()
        || !histogram.negative_deltas.is_empty()
        || !histogram.negative_counts.is_empty();
    if has_zeros || has_negatives || histogram.zero_threshold != 0.0 {
        return Err(Inconsistency::Mixed);
    }
    let spans = histogram.positive_spans.iter();
    if let Some(span) = spans.clone().find(|span| span.offset < 0) {
        return Err(Inconsistency::Offset(span.offset));
    }
    let found = spans
        .map(|span| i64::from(span.offset) + i64::from(span.length))
        .sum();
    let expected = bounds.len() as i64 + 1;
    (found <= expected)
        .then_some(())
        .ok_or(Inconsistency::TooFewBounds { found, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    /// Histogram with counts 1 and 2 above zero, 3 below, 4 at zero.
    fn exponential() -> Histogram {
        Histogram {
            count: Some(Count::CountInt(10)),
            zero_count: Some(ZeroCount::ZeroCountInt(4)),
            positive_spans: vec![span(-5, 2)],
            positive_deltas: vec![1, 1],
            negative_spans: vec![span(7, 1)],
            negative_deltas: vec![3],
            zero_threshold: 0.1,
            schema: 8,
            ..Default::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            count: Some(Count::CountInt(3)),
            schema: CUSTOM_BUCKETS,
            custom_values: vec![f64::NEG_INFINITY, 1.0],
            positive_spans: vec![span(1, 1), span(0, 1)],
            positive_deltas: vec![1, 1],
            ..Default::default()
        }
    }

    fn float() -> Histogram {
        Histogram {
            count: Some(Count::CountFloat(0.5)),
            zero_count: Some(ZeroCount::ZeroCountFloat(1.5)),
            positive_spans: vec![span(0, 1)],
            positive_counts: vec![7.25],
            ..Default::default()
        }
    }

    fn checked(
        mut histogram: Histogram,
        change: impl FnOnce(&mut Histogram),
    ) -> Result<(), Inconsistency> {
        change(&mut histogram);
        check(&histogram)
    }

    #[test]
    fn accepts_consistent_histograms() {
        for histogram in [exponential(), custom(), float(), Histogram::default()] {
            assert_eq!(check(&histogram), Ok(()), "{histogram:?}");
        }
        assert_eq!(check(&super::super::exponential::stale()), Ok(()));
    }

    #[test]
    fn only_observations_of_nan_may_be_missing_in_the_buckets() {
        let count = |count, sum| {
            checked(exponential(), |histogram| {
                histogram.count = Some(Count::CountInt(count));
                histogram.sum = sum;
            })
        };
        let buckets = 10;
        assert_eq!(
            count(11, 1.0),
            Err(Inconsistency::Count { count: 11, buckets })
        );
        assert_eq!(count(11, f64::NAN), Ok(()));
        assert_eq!(
            count(9, f64::NAN),
            Err(Inconsistency::Count { count: 9, buckets })
        );
    }

    #[test]
    fn rejects_what_backends_refuse() {
        use Inconsistency as Wrong;
        let exponential = |change: fn(&mut Histogram)| checked(exponential(), change).unwrap_err();
        let custom = |change: fn(&mut Histogram)| checked(custom(), change).unwrap_err();
        let float = |change: fn(&mut Histogram)| checked(float(), change).unwrap_err();
        assert_eq!(exponential(|h| h.schema = 9), Wrong::Schema(9));
        assert_eq!(exponential(|h| h.schema = -5), Wrong::Schema(-5));
        let (spans, counts) = (2, 1);
        assert_eq!(
            exponential(|h| h.positive_deltas.truncate(1)),
            Wrong::Spans { spans, counts }
        );
        assert_eq!(
            exponential(|h| h.negative_spans.push(span(-1, 0))),
            Wrong::Offset(-1)
        );
        let negative = exponential(|h| h.negative_deltas = vec![-3]);
        assert_eq!(negative, Wrong::NegativeCount);
        assert_eq!(exponential(|h| h.custom_values = vec![1.0]), Wrong::Mixed);
        assert_eq!(
            custom(|h| h.custom_values = vec![1.0, 1.0]),
            Wrong::Bounds(1.0)
        );
        let infinity = custom(|h| h.custom_values.push(f64::INFINITY));
        assert_eq!(infinity, Wrong::Bounds(f64::INFINITY));
        let nan = custom(|h| h.custom_values = vec![f64::NAN]);
        assert!(matches!(nan, Wrong::Bounds(bound) if bound.is_nan()));
        let (found, expected) = (3, 2);
        assert_eq!(
            custom(|h| h.custom_values.truncate(1)),
            Wrong::TooFewBounds { found, expected }
        );
        assert_eq!(
            custom(|h| h.positive_spans[0].offset = -1),
            Wrong::Offset(-1)
        );
        assert_eq!(custom(|h| h.zero_threshold = 1e-128), Wrong::Mixed);
        assert_eq!(custom(|h| h.negative_spans.push(span(0, 0))), Wrong::Mixed);
        let zero = custom(|h| h.zero_count = Some(ZeroCount::ZeroCountInt(1)));
        assert_eq!(zero, Wrong::Mixed);
        assert_eq!(
            float(|h| h.positive_counts = vec![-1.0]),
            Wrong::NegativeCount
        );
        let count = float(|h| h.count = Some(Count::CountFloat(-0.5)));
        assert_eq!(count, Wrong::NegativeCount);
        assert_eq!(
            float(|h| h.positive_counts.clear()),
            Wrong::Spans {
                spans: 1,
                counts: 0
            }
        );
    }
}
