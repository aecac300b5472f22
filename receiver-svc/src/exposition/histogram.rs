//! Native histograms.

use std::iter;

/// A native histogram, of integers or of floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// -4..=8 for exponential buckets, -53 for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Populated positive buckets.
    pub positive_spans: Vec<Span>,
    /// Populated negative buckets.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, without `+Inf`.
    pub custom_values: Vec<f64>,
    /// Whether it may go down from one scrape to the next.
    pub gauge: bool,
    /// The counts.
    pub counts: Counts,
}

/// The counts of a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// Integers; buckets as differences from the one before.
    Integer {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero_count: u64,
        /// Differences, over the positive spans.
        positive_deltas: Vec<i64>,
        /// Differences, over the negative spans.
        negative_deltas: Vec<i64>,
    },
    /// Floats; buckets as they are.
    Float {
        /// All observations.
        count: f64,
        /// Those in the zero bucket.
        zero_count: f64,
        /// Counts, over the positive spans.
        positive: Vec<f64>,
        /// Counts, over the negative spans.
        negative: Vec<f64>,
    },
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous span, or the first bucket's index.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// A bucket's index needs more than 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected bucket indexes of 32 bits")]
pub(super) struct IndexError;

// === impl Histogram ===

impl Histogram {
    /// Cuts out empty buckets, except where at most `max_empty` of them stand
    /// between others. Expects as many counts as the spans have buckets.
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
    let mut before = 0_i64;
    for count in deltas.iter_mut() {
        (before, *count) = (*count, count.wrapping_sub(before));
    }
    Ok(())
}

fn compact<T: Copy + Default + PartialEq>(
    spans: &mut Vec<Span>,
    counts: &mut Vec<T>,
    max_empty: u32,
) -> Result<(), IndexError> {
    let mut kept_spans: Vec<Span> = Vec::with_capacity(spans.len());
    let mut kept: Vec<T> = Vec::with_capacity(counts.len());
    // The index behind the last bucket that was kept.
    let mut end = 0;
    for (index, &count) in indexes(spans).zip(counts.iter()) {
        if count == T::default() {
            continue;
        }
        // Negative only where the spans overlap, which is left for others to judge.
        let offset = i32::try_from(index - end).map_err(|_| IndexError)?;
        match (kept_spans.last_mut(), u32::try_from(offset)) {
            (Some(span), Ok(empty)) if empty <= max_empty => {
                kept.extend(iter::repeat_n(T::default(), empty as usize));
                span.length += empty + 1;
            }
            _ => kept_spans.push(Span { offset, length: 1 }),
        }
        kept.push(count);
        end = index + 1;
    }
    (*spans, *counts) = (kept_spans, kept);
    Ok(())
}

/// The index of each bucket.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> {
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
    fn empty_buckets_are_cut_out() {
        let cut = |before: &[(i32, u32)], counts: &[i64], max_empty| {
            let (mut spans, mut counts) = (spans(before), counts.to_vec());
            compact(&mut spans, &mut counts, max_empty).unwrap();
            (spans, counts)
        };
        assert_eq!(cut(&[(-2, 3)], &[0, 7, 0], 0), (spans(&[(-1, 1)]), vec![7]));
        assert_eq!(
            cut(&[(0, 3)], &[1, 0, 2], 0),
            (spans(&[(0, 1), (1, 1)]), vec![1, 2])
        );
        assert_eq!(
            cut(&[(0, 3)], &[1, 0, 2], 1),
            (spans(&[(0, 3)]), vec![1, 0, 2])
        );
        assert_eq!(
            cut(&[(0, 1), (0, 1)], &[1, 2], 0),
            (spans(&[(0, 2)]), vec![1, 2])
        );
        assert_eq!(cut(&[(3, 0), (2, 1)], &[1], 0), (spans(&[(5, 1)]), vec![1]));
        assert_eq!(cut(&[(0, 2), (4, 0)], &[0, 0], 2), (vec![], vec![]));
    }

    #[test]
    fn differences_stay_those_of_the_buckets_that_are_left() {
        let (mut spans, mut deltas) = (spans(&[(0, 4)]), vec![3, -3, 0, 5]);
        compact_deltas(&mut spans, &mut deltas, 0).unwrap();
        assert_eq!(deltas, [3, 2]);
    }

    #[test]
    fn an_index_of_more_than_32_bits_is_an_error() {
        let mut spans = spans(&[(i32::MAX, 0), (i32::MAX, 1)]);
        assert_eq!(compact(&mut spans, &mut vec![1_i64], 0), Err(IndexError));
    }
}
