//! Reduces the resolution of native histograms.

use std::ops::AddAssign;

use crate::exposition::{Counts, Histogram, Span, indexes};

/// Coarsest schema: each bucket is 65536 times as wide as the previous one.
pub(crate) const MIN_SCHEMA: i32 = -4;
/// Finest schema.
pub(crate) const MAX_SCHEMA: i32 = 8;

/// Returns true if buckets of this schema can be merged into wider ones.
pub(crate) fn is_exponential(schema: i32) -> bool {
    (MIN_SCHEMA..=MAX_SCHEMA).contains(&schema)
}

/// Returns the number of buckets of a histogram, without the zero bucket.
pub(crate) fn buckets(histogram: &Histogram) -> usize {
    match &histogram.counts {
        Counts::Integer {
            positive_deltas,
            negative_deltas,
            ..
        } => positive_deltas.len() + negative_deltas.len(),
        Counts::Float {
            positive, negative, ..
        } => positive.len() + negative.len(),
    }
}

/// Merges the buckets of an exponential histogram into those of a coarser schema.
pub(crate) fn reduce(histogram: &mut Histogram, schema: i32) {
    let shift = histogram.schema.abs_diff(schema);
    let (positive, negative) = (&mut histogram.positive_spans, &mut histogram.negative_spans);
    match &mut histogram.counts {
        Counts::Integer {
            positive_deltas,
            negative_deltas,
            ..
        } => {
            merge_deltas(positive, positive_deltas, shift);
            merge_deltas(negative, negative_deltas, shift);
        }
        Counts::Float {
            positive: positive_counts,
            negative: negative_counts,
            ..
        } => {
            merge(positive, positive_counts, shift);
            merge(negative, negative_counts, shift);
        }
    }
    histogram.schema = schema;
}

fn merge_deltas(spans: &mut Vec<Span>, deltas: &mut Vec<i64>, shift: u32) {
    let mut count = 0_i64;
    for delta in deltas.iter_mut() {
        count = count.wrapping_add(*delta);
        *delta = count;
    }
    merge(spans, deltas, shift);
    let mut before = 0_i64;
    for count in deltas.iter_mut() {
        (before, *count) = (*count, count.wrapping_sub(before));
    }
}

fn merge<T: Copy + AddAssign>(spans: &mut Vec<Span>, counts: &mut Vec<T>, shift: u32) {
    let mut merged_spans: Vec<Span> = Vec::with_capacity(spans.len());
    let mut merged: Vec<T> = Vec::with_capacity(counts.len());
    // Index of the last merged bucket.
    let mut last = None;
    for (index, &count) in indexes(spans).zip(counts.iter()) {
        // Bucket `i` ends at `base^i`. A wide bucket ends where `i` is a multiple of
        // `2^shift`, so the index is rounded up.
        let index = ((index - 1) >> shift) + 1;
        match (last, merged.last_mut(), merged_spans.last_mut()) {
            (Some(last), Some(total), _) if last == index => *total += count,
            (Some(last), _, Some(span)) if last + 1 == index => {
                span.length += 1;
                merged.push(count);
            }
            (last, _, _) => {
                let end = last.map_or(0, |last| last + 1);
                // It is smaller than the original offsets, which fit into an `i32`.
                let offset = i32::try_from(index - end).unwrap_or(i32::MAX);
                merged_spans.push(Span { offset, length: 1 });
                merged.push(count);
            }
        }
        last = Some(index);
    }
    (*spans, *counts) = (merged_spans, merged);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(spans: &[(i32, u32)], counts: &[i64], shift: u32) -> (Vec<(i32, u32)>, Vec<i64>) {
        let mut spans: Vec<_> = spans
            .iter()
            .map(|&(offset, length)| Span { offset, length })
            .collect();
        let mut counts = counts.to_vec();
        merge(&mut spans, &mut counts, shift);
        let spans = spans.iter().map(|span| (span.offset, span.length));
        (spans.collect(), counts)
    }

    #[test]
    fn merges_adjacent_buckets() {
        // Indexes 1 and 2 end in 1, indexes 3 and 4 in 2.
        assert_eq!(
            merged(&[(1, 4)], &[1, 2, 4, 8], 1),
            (vec![(1, 2)], vec![3, 12])
        );
        // Index 0 ends in 0 with -1.
        assert_eq!(
            merged(&[(-1, 3)], &[1, 2, 4], 1),
            (vec![(0, 2)], vec![3, 4])
        );
        assert_eq!(
            merged(&[(1, 1), (9, 1)], &[1, 2], 1),
            (vec![(1, 1), (4, 1)], vec![1, 2])
        );
        assert_eq!(
            merged(&[(1, 1), (9, 1)], &[1, 2], 4),
            (vec![(1, 1)], vec![3])
        );
        assert_eq!(merged(&[], &[], 3), (vec![], vec![]));
    }

    #[test]
    fn merges_delta_encoded_counts() {
        let mut spans = vec![Span {
            offset: 1,
            length: 3,
        }];
        let mut deltas = vec![5, -2, 4];
        merge_deltas(&mut spans, &mut deltas, 1);
        assert_eq!(deltas, [8, -1]);
    }
}
