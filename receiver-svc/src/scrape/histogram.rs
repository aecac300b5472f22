//! Whether a native histogram can be stored.
//!
//! Prometheus asks this of its storage; a histogram that fails it fails the
//! scrape.

use crate::exposition::{Counts, Histogram, Span};

use super::resolution;

/// The schema of histograms with custom bounds.
pub(crate) const CUSTOM_BUCKETS: i32 = -53;

/// A native histogram that is not consistent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// No such schema.
    #[error("schema {0}, expected -4 to 8, or -53 for custom bounds")]
    Schema(i32),
    /// Spans and counts do not agree.
    #[error("spans of {spans} buckets, but {counts} counts")]
    Spans {
        /// Buckets by the spans.
        spans: usize,
        /// Counts there are.
        counts: usize,
    },
    /// Spans overlap.
    #[error("a span with offset {0}, expected one of 0 or more")]
    Offset(i32),
    /// A count below zero.
    #[error("a negative count")]
    NegativeCount,
    /// The buckets do not add up to the count.
    #[error("{buckets} observations in the buckets, but a count of {count}")]
    Count {
        /// Observations in the buckets.
        buckets: u64,
        /// The count.
        count: u64,
    },
    /// Custom bounds that are not in order, or not numbers.
    #[error("custom bounds that do not go up, from {0} on")]
    Bounds(f64),
    /// A bucket above the last custom bound.
    #[error("buckets up to number {found}, but custom bounds for {expected}")]
    TooFewBounds {
        /// The last bucket's number, from 1.
        found: i64,
        /// How many there may be.
        expected: i64,
    },
    /// What only exponential buckets have, beside custom bounds, or the reverse.
    #[error("custom bounds beside exponential buckets")]
    Mixed,
}

/// Checks what a parser does not.
///
/// # Errors
/// Where the histogram is not consistent.
pub(crate) fn check(histogram: &Histogram) -> Result<(), HistogramError> {
    match histogram.schema {
        CUSTOM_BUCKETS => check_custom(histogram)?,
        schema if resolution::is_exponential(schema) => {
            if !histogram.custom_values.is_empty() {
                return Err(HistogramError::Mixed);
            }
        }
        schema => return Err(HistogramError::Schema(schema)),
    }
    let (positive, negative) = (&histogram.positive_spans, &histogram.negative_spans);
    match &histogram.counts {
        Counts::Integer {
            count,
            zero_count,
            positive_deltas,
            negative_deltas,
        } => {
            check_spans(positive, positive_deltas.len())?;
            check_spans(negative, negative_deltas.len())?;
            let sides = [sum(positive_deltas)?, sum(negative_deltas)?, *zero_count];
            let buckets = sides.into_iter().fold(0, u64::wrapping_add);
            // Observations of NaN are in the count and in no bucket.
            let agrees = buckets == *count || (histogram.sum.is_nan() && buckets < *count);
            let count = *count;
            agrees
                .then_some(())
                .ok_or(HistogramError::Count { buckets, count })
        }
        Counts::Float {
            count,
            zero_count,
            positive: positive_counts,
            negative: negative_counts,
        } => {
            check_spans(positive, positive_counts.len())?;
            check_spans(negative, negative_counts.len())?;
            let counts = positive_counts.iter().chain(negative_counts);
            let is_negative = counts.chain([count, zero_count]).any(|count| *count < 0.0);
            (!is_negative)
                .then_some(())
                .ok_or(HistogramError::NegativeCount)
        }
    }
}

fn check_spans(spans: &[Span], counts: usize) -> Result<(), HistogramError> {
    if let Some(span) = spans.iter().skip(1).find(|span| span.offset < 0) {
        return Err(HistogramError::Offset(span.offset));
    }
    let spans = spans.iter().map(|span| span.length as usize).sum();
    (spans == counts)
        .then_some(())
        .ok_or(HistogramError::Spans { spans, counts })
}

/// The sum of counts that are given as differences.
fn sum(deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut count, mut sum) = (0_i64, 0_u64);
    for delta in deltas {
        count = count.wrapping_add(*delta);
        let count = u64::try_from(count).map_err(|_| HistogramError::NegativeCount)?;
        sum = sum.wrapping_add(count);
    }
    Ok(sum)
}

fn check_custom(histogram: &Histogram) -> Result<(), HistogramError> {
    let bounds = &histogram.custom_values;
    if let Some(bound) = bounds.iter().find(|bound| bound.is_nan()) {
        return Err(HistogramError::Bounds(*bound));
    }
    if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
        return Err(HistogramError::Bounds(pair[0]));
    }
    if let Some(&last @ f64::INFINITY) = bounds.last() {
        return Err(HistogramError::Bounds(last));
    }
    let zero = match histogram.counts {
        Counts::Integer { zero_count, .. } => zero_count == 0,
        Counts::Float { zero_count, .. } => zero_count == 0.0,
    };
    if !zero || histogram.zero_threshold != 0.0 || !histogram.negative_spans.is_empty() {
        return Err(HistogramError::Mixed);
    }
    let spans = histogram.positive_spans.iter();
    if let Some(span) = spans.clone().find(|span| span.offset < 0) {
        return Err(HistogramError::Offset(span.offset));
    }
    let found = spans
        .map(|span| i64::from(span.offset) + i64::from(span.length))
        .sum();
    let expected = bounds.len() as i64 + 1;
    (found <= expected)
        .then_some(())
        .ok_or(HistogramError::TooFewBounds { found, expected })
}
