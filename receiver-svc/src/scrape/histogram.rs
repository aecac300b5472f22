//! Validates native histograms.
//!
//! Prometheus does this in its storage. An invalid histogram fails the whole scrape.

use crate::{
    exposition::{CUSTOM_BUCKETS, Counts, Histogram, Span},
    samples::resolution,
};

/// Inconsistent native histogram.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Unknown schema.
    #[error("schema {0}, expected -4 to 8, or -53 for custom bounds")]
    Schema(i32),
    /// Number of buckets differs between spans and counts.
    #[error("spans cover {spans} buckets, but there are {counts} bucket counts")]
    Spans {
        /// Number of buckets that the spans cover.
        spans: usize,
        /// Number of bucket counts.
        counts: usize,
    },
    /// Overlapping spans.
    #[error("span with offset {0}, expected 0 or more")]
    Offset(i32),
    /// Negative count.
    #[error("negative count")]
    NegativeCount,
    /// Sum of the buckets differs from the count.
    #[error("{buckets} observations in the buckets, but a count of {count}")]
    Count {
        /// Number of observations in all buckets.
        buckets: u64,
        /// Count of the histogram.
        count: u64,
    },
    /// Custom bounds that are not in ascending order, or not finite.
    #[error("custom bounds not in ascending order or not finite, from {0} on")]
    Bounds(f64),
    /// Bucket above the last custom bound.
    #[error("buckets up to number {found}, but custom bounds for only {expected}")]
    TooFewBounds {
        /// Number of the last bucket, from 1.
        found: i64,
        /// Number of buckets that the bounds define.
        expected: i64,
    },
    /// Custom bounds and exponential buckets in one histogram.
    #[error("custom bounds and exponential buckets in one histogram")]
    Mixed,
}

/// Checks the properties of a histogram that the parser does not check.
///
/// # Errors
/// Returns an error if the histogram is inconsistent.
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
            // Observations of NaN add to the count but to no bucket.
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

/// Returns the sum of delta-encoded counts.
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
