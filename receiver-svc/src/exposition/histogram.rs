//! Represents native histograms.

use std::iter;

/// A native histogram with integer or float counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// -4..=8 for exponential buckets, -53 for custom buckets.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Spans of the populated positive buckets.
    pub positive_spans: Vec<Span>,
    /// Spans of the populated negative buckets.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, excluding `+Inf`.
    pub custom_values: Vec<f64>,
    /// Gauge histogram: counts may decrease from one scrape to the next.
    pub gauge: bool,
    /// Counts of the buckets and in total.
    pub counts: Counts,
}

/// The counts of a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// Integer counts. Each bucket has the difference from the previous bucket.
    Integer {
        /// Number of all observations.
        count: u64,
        /// Number of observations in the zero bucket.
        zero_count: u64,
        /// Differences of the buckets in the positive spans.
        positive_deltas: Vec<i64>,
        /// Differences of the buckets in the negative spans.
        negative_deltas: Vec<i64>,
    },
    /// Float counts. Each bucket has its absolute count.
    Float {
        /// Number of all observations.
        count: f64,
        /// Number of observations in the zero bucket.
        zero_count: f64,
        /// Counts of the buckets in the positive spans.
        positive: Vec<f64>,
        /// Counts of the buckets in the negative spans.
        negative: Vec<f64>,
    },
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous span in buckets. In the first span, index of the first bucket.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// A bucket index exceeds 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected bucket indexes of 32 bits, found a larger one")]
pub(super) struct IndexError;

// === impl Histogram ===

impl Histogram {
    /// Removes empty buckets, except runs of at most `max_empty` between other buckets.
    ///
    /// Expects as many counts as the spans have buckets.
    pub(super) fn compact(&mut self, max_empty: u32) -> Result<(), IndexError> {
        let (positive, negative) = (&mut self.positive_spans, &mut self.negative_spans);
        match &mut self.counts {
            Counts::Integer {
                positive_deltas,
                negative_deltas,
                ..
            } => {
                compact_deltas(positive, positive_deltas, max_empty)?;
                compact_deltas(negative, negative_deltas, max_empty)
            }
            Counts::Float {
                positive: positive_counts,
                negative: negative_counts,
                ..
            } => {
                compact(positive, positive_counts, max_empty)?;
                compact(negative, negative_counts, max_empty)
            }
        }
    }
}

fn compact_deltas(
    spans: &mut Vec<Span>,
    deltas: &mut Vec<i64>,
    max_empty: u32,
) -> Result<(), IndexError> {
    let mut count = 0_i64;
    for delta in deltas.iter_mut() {
        count = count.wrapping_add(*delta);
        *delta = count;
    }
    compact(spans, deltas, max_empty)?;
    let mut previous = 0_i64;
    for count in deltas.iter_mut() {
        (previous, *count) = (*count, count.wrapping_sub(previous));
    }
    Ok(())
}

fn compact<T: Copy + Default + PartialEq>(
    spans: &mut Vec<Span>,
    counts: &mut Vec<T>,
    max_empty: u32,
) -> Result<(), IndexError> {
    let mut new_spans: Vec<Span> = Vec::with_capacity(spans.len());
    let mut new_counts: Vec<T> = Vec::with_capacity(counts.len());
    // One past the index of the last populated bucket.
    let mut end = 0;
    for (index, &count) in indexes(spans).zip(counts.iter()) {
        if count == T::default() {
            continue;
        }
        // Negative if the spans overlap. Validation of the sample rejects that later.
        let offset = i32::try_from(index - end).map_err(|_| IndexError)?;
        match (new_spans.last_mut(), u32::try_from(offset)) {
            (Some(span), Ok(empty)) if empty <= max_empty => {
                new_counts.extend(iter::repeat_n(T::default(), empty as usize));
                span.length += empty + 1;
            }
            _ => new_spans.push(Span { offset, length: 1 }),
        }
        new_counts.push(count);
        end = index + 1;
    }
    (*spans, *counts) = (new_spans, new_counts);
    Ok(())
}

/// Returns the index of each bucket.
pub(crate) fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> {
    let runs = spans.iter().scan(0, |end, span| {
        let start = *end + i64::from(span.offset);
        *end = start + i64::from(span.length);
        Some(start..*end)
    });
    runs.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
        spans
            .iter()
            .map(|&(offset, length)| Span { offset, length })
            .collect()
    }

    #[test]
    fn compact_removes_empty_buckets() {
        let compacted = |input: &[(i32, u32)], counts: &[i64], max_empty| {
            let (mut spans, mut counts) = (spans(input), counts.to_vec());
            compact(&mut spans, &mut counts, max_empty).unwrap();
            (spans, counts)
        };
        assert_eq!(
            compacted(&[(-2, 3)], &[0, 7, 0], 0),
            (spans(&[(-1, 1)]), vec![7])
        );
        assert_eq!(
            compacted(&[(0, 3)], &[1, 0, 2], 0),
            (spans(&[(0, 1), (1, 1)]), vec![1, 2])
        );
        assert_eq!(
            compacted(&[(0, 3)], &[1, 0, 2], 1),
            (spans(&[(0, 3)]), vec![1, 0, 2])
        );
        assert_eq!(
            compacted(&[(0, 1), (0, 1)], &[1, 2], 0),
            (spans(&[(0, 2)]), vec![1, 2])
        );
        assert_eq!(
            compacted(&[(3, 0), (2, 1)], &[1], 0),
            (spans(&[(5, 1)]), vec![1])
        );
        assert_eq!(compacted(&[(0, 2), (4, 0)], &[0, 0], 2), (vec![], vec![]));
    }

    #[test]
    fn compact_adjusts_the_differences_of_the_remaining_buckets() {
        let (mut spans, mut deltas) = (spans(&[(0, 4)]), vec![3, -3, 0, 5]);
        compact_deltas(&mut spans, &mut deltas, 0).unwrap();
        assert_eq!(deltas, [3, 2]);
    }

    #[test]
    fn compact_rejects_an_index_of_more_than_32_bits() {
        let mut spans = spans(&[(i32::MAX, 0), (i32::MAX, 1)]);
        assert_eq!(compact(&mut spans, &mut vec![1_i64], 0), Err(IndexError));
    }
}
