//! Converts exponential histograms to native histograms.
//!
//! OTLP lists every bucket from an offset on. A native histogram has runs of buckets
//! ("spans") and the differences between neighbours. Bucket `i` of OTLP covers
//! `(base^i, base^(i+1)]`, bucket `i` of Prometheus `(base^(i-1), base^i]`, so each
//! index grows by one.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use proto::v1::{self, histogram};

use super::STALE_NAN;

/// Range of exponential schemas, from the coarsest to the finest.
pub const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// Schema of native histograms with custom buckets.
pub const CUSTOM_BUCKETS: i32 = -53;
/// Maximum number of scale reductions. With more, no bit of an i32 bucket index
/// remains.
const MAX_SCALE_DOWN: u32 = 31;
/// Maximum number of empty buckets that are listed. A new span, which costs about as
/// much, covers a longer gap.
const MAX_LISTED_GAP: i64 = 2;

/// Exponential histogram, decoded by hand or by prost.
#[derive(Clone, Debug, Default)]
pub struct Exponential {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations, if known.
    pub sum: Option<f64>,
    /// Scale of the buckets: `base = 2^(2^-scale)`.
    pub scale: i32,
    /// Number of observations in the zero bucket.
    pub zero_count: u64,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Buckets of positive observations.
    pub positive: Buckets,
    /// Buckets of negative observations.
    pub negative: Buckets,
    /// True if the series is stale.
    pub stale: bool,
}

/// Error of an exponential histogram that has no native form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExponentialError {
    /// The scale is coarser than any schema.
    #[error("scale {0}, expected -4 or more")]
    Scale(i32),
    /// A bucket index is out of range.
    #[error("bucket index {0} is out of range")]
    Index(i64),
}

/// Spans of buckets, and the differences between their counts.
type Layout = (Vec<v1::BucketSpan>, Vec<i64>);

// === impl Exponential ===

impl Exponential {
    /// Converts to a native histogram with at most `max_buckets` buckets by reducing
    /// the resolution; 0 means no limit.
    ///
    /// # Errors
    /// Returns an error if the scale is coarser than any schema or an index is out of
    /// range.
    pub fn to_native(&self, max_buckets: usize) -> Result<v1::Histogram, ExponentialError> {
        if self.stale {
            return Ok(stale());
        }
        let (min, max) = SCHEMAS.into_inner();
        if self.scale < min {
            return Err(ExponentialError::Scale(self.scale));
        }
        let mut scale_down = (self.scale.saturating_sub(max)).max(0).unsigned_abs();
        loop {
            let positive = layout(&self.positive, scale_down)?;
            let negative = layout(&self.negative, scale_down)?;
            let schema = self.scale.saturating_sub_unsigned(scale_down);
            let buckets = positive.1.len() + negative.1.len();
            if max_buckets == 0 || buckets <= max_buckets || schema == min {
                return Ok(self.native(schema, positive, negative));
            }
            scale_down += 1;
        }
    }

    /// Returns cumulative buckets: upper bounds, and the number of observations at or
    /// below them. Bounds are powers of two, or of a larger base if the scale is negative.
    /// So points of different scales share bounds.
    ///
    /// # Errors
    /// Returns an error if the scale is coarser than any schema.
    pub fn to_classic(&self) -> Result<Vec<(f64, u64)>, ExponentialError> {
        let (min, _) = SCHEMAS.into_inner();
        if self.scale < min {
            return Err(ExponentialError::Scale(self.scale));
        }
        let scale_down = self.scale.max(0).unsigned_abs();
        let width = f64::exp2(-f64::from(self.scale.min(0)));
        let bound = |index: i64| f64::exp2(index as f64 * width);
        let populated = |buckets: &Buckets| populated(merged(buckets, scale_down));
        let (negative, positive) = (populated(&self.negative), populated(&self.positive));
        let zero = (self.zero_count > 0).then_some((self.zero_threshold, self.zero_count));
        let counts = negative
            .into_iter()
            .map(|(index, count)| (-bound(index - 1), count))
            .chain(zero)
            .chain(
                positive
                    .into_iter()
                    .map(|(index, count)| (bound(index), count)),
            );
        // The zero bucket can be wider than a bucket near it, and tiny bounds become 0.
        let mut counts: Vec<_> = counts.map(|(bound, count)| (bound + 0.0, count)).collect();
        counts.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut cumulative: Vec<(f64, u64)> = Vec::with_capacity(counts.len());
        let mut total = 0u64;
        for (bound, count) in counts {
            total = total.saturating_add(count);
            match cumulative.last_mut() {
                Some((last, at_last)) if *last == bound => *at_last = total,
                _ => cumulative.push((bound, total)),
            }
        }
        cumulative.retain(|(bound, _)| bound.is_finite());
        Ok(cumulative)
    }

    fn native(&self, schema: i32, positive: Layout, negative: Layout) -> v1::Histogram {
        v1::Histogram {
            count: Some(histogram::Count::CountInt(self.count)),
            sum: self.sum.unwrap_or(0.0),
            schema,
            zero_threshold: self.zero_threshold,
            zero_count: Some(histogram::ZeroCount::ZeroCountInt(self.zero_count)),
            negative_spans: negative.0,
            negative_deltas: negative.1,
            positive_spans: positive.0,
            positive_deltas: positive.1,
            ..Default::default()
        }
    }
}

/// Staleness marker of a series of native histograms.
pub fn stale() -> v1::Histogram {
    v1::Histogram {
        count: Some(histogram::Count::CountInt(0)),
        sum: STALE_NAN,
        zero_count: Some(histogram::ZeroCount::ZeroCountInt(0)),
        ..Default::default()
    }
}

/// Builds a native histogram with custom buckets from OTLP's bucket counts.
pub fn custom_buckets(
    counts: &[u64],
    custom_values: Vec<f64>,
    count: u64,
    sum: Option<f64>,
) -> v1::Histogram {
    // A message has fewer buckets than bytes, so every index fits.
    let counts = (0..).zip(counts.iter().copied());
    let (positive_spans, positive_deltas) = spans(counts).unwrap_or_default();
    v1::Histogram {
        count: Some(histogram::Count::CountInt(count)),
        sum: sum.unwrap_or(0.0),
        schema: CUSTOM_BUCKETS,
        zero_count: Some(histogram::ZeroCount::ZeroCountInt(0)),
        positive_spans,
        positive_deltas,
        custom_values,
        ..Default::default()
    }
}

/// Counts of each custom bucket of a native histogram, including the last one, which has no
/// bound. Ignores buckets beyond it.
pub fn custom_counts(histogram: &v1::Histogram) -> Vec<f64> {
    let mut counts = vec![0.0; histogram.custom_values.len() + 1];
    let mut total = 0i64;
    let deltas = histogram.positive_deltas.iter().map(|delta| {
        total = total.saturating_add(*delta);
        total as f64
    });
    let mut listed = deltas.chain(histogram.positive_counts.iter().copied());
    let mut next = 0usize;
    for span in &histogram.positive_spans {
        next = next.saturating_add(usize::try_from(span.offset).unwrap_or(0));
        for count in listed.by_ref().take(span.length as usize) {
            if let Some(bucket) = counts.get_mut(next) {
                *bucket = count;
            }
            next = next.saturating_add(1);
        }
    }
    counts
}

/// Lays out OTLP buckets, `2^scale_down` of them merged into one.
fn layout(buckets: &Buckets, scale_down: u32) -> Result<Layout, ExponentialError> {
    spans(merged(buckets, scale_down))
}

/// Counts by Prometheus bucket index, with `2^scale_down` buckets merged into one.
fn merged(buckets: &Buckets, scale_down: u32) -> impl Iterator<Item = (i64, u64)> {
    let scale_down = scale_down.min(MAX_SCALE_DOWN);
    let indexed = (i64::from(buckets.offset)..).zip(&buckets.bucket_counts);
    indexed.map(move |(index, &count)| ((index >> scale_down) + 1, count))
}

/// Populated buckets. Adds up consecutive counts of the same index.
fn populated(counts: impl Iterator<Item = (i64, u64)>) -> Vec<(i64, u64)> {
    let mut populated: Vec<(i64, u64)> = Vec::new();
    for (index, count) in counts.filter(|(_, count)| *count > 0) {
        match populated.last_mut() {
            Some((last, total)) if *last == index => *total = total.saturating_add(count),
            _ => populated.push((index, count)),
        }
    }
    populated
}

/// Lays out counts by bucket index, in ascending order.
fn spans(counts: impl Iterator<Item = (i64, u64)>) -> Result<Layout, ExponentialError> {
    let (mut spans, mut deltas) = (Vec::<v1::BucketSpan>::new(), Vec::new());
    let (mut next, mut previous) = (0i64, 0u64);
    for (index, count) in populated(counts) {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= MAX_LISTED_GAP => {
                for _ in 0..gap {
                    deltas.push(0i64.wrapping_sub(previous as i64));
                    previous = 0;
                }
                span.length += gap as u32 + 1;
            }
            _ => {
                let offset = i32::try_from(gap).map_err(|_| ExponentialError::Index(index))?;
                spans.push(v1::BucketSpan { offset, length: 1 });
            }
        }
        deltas.push((count as i64).wrapping_sub(previous as i64));
        (next, previous) = (index + 1, count);
    }
    Ok((spans, deltas))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn exponential(scale: i32, offset: i32, bucket_counts: Vec<u64>) -> Exponential {
        Exponential {
            count: bucket_counts
                .iter()
                .fold(0, |total, count| total.wrapping_add(*count)),
            scale,
            positive: Buckets {
                offset,
                bucket_counts,
            },
            ..Default::default()
        }
    }

    proptest! {
        #[test]
        fn merged_buckets_hold_every_observation(
            scale in -4..20i32,
            offset in -3000..3000i32,
            counts in vec(0u64..5, 0..400),
            max in 1usize..200,
        ) {
            let total = counts.iter().sum::<u64>();
            let native = exponential(scale, offset, counts).to_native(max).unwrap();
            prop_assert!((-4..=8).contains(&native.schema));
            prop_assert!(native.positive_deltas.len() <= max || native.schema == -4);
            let mut count = 0;
            let buckets = native.positive_deltas.iter().map(|delta| {
                count += delta;
                count as u64
            });
            prop_assert_eq!(buckets.sum::<u64>(), total);
            let listed: u32 = native.positive_spans.iter().map(|span| span.length).sum();
            prop_assert_eq!(listed as usize, native.positive_deltas.len());
        }

        #[test]
        fn classic_buckets_are_cumulative(scale in -4..20i32, counts in vec(0u64..5, 0..100)) {
            let mut histogram = exponential(scale, -50, counts.clone());
            histogram.negative = Buckets { offset: -3, bucket_counts: counts };
            histogram.zero_count = 7;
            let buckets = histogram.to_classic().unwrap();
            prop_assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{:?}", buckets);
            prop_assert_eq!(buckets.last().unwrap().1, histogram.count * 2 + 7);
        }

        #[test]
        fn extreme_offsets_do_not_panic(scale: i32, offset: i32, counts in vec(any::<u64>(), 0..5)) {
            let mut histogram = exponential(0, offset, counts);
            histogram.scale = scale;
            let _ = histogram.to_native(200);
            let _ = histogram.to_classic();
        }
    }

    #[test]
    fn lists_small_gaps_and_splits_spans_at_large_ones() {
        let native = exponential(0, 4, vec![1, 0, 0, 2, 0, 0, 0, 3])
            .to_native(0)
            .unwrap();
        let spans: Vec<_> = native
            .positive_spans
            .iter()
            .map(|s| (s.offset, s.length))
            .collect();
        assert_eq!(spans, [(5, 4), (3, 1)]);
        assert_eq!(native.positive_deltas, [1, -1, 0, 2, 1]);
    }

    #[test]
    fn classic_bounds_are_powers_of_two() {
        // Scale 1: bucket i is (2^(i/2), 2^((i+1)/2)].
        let buckets = exponential(1, 0, vec![1, 2, 3, 4]).to_classic().unwrap();
        assert_eq!(buckets, [(2.0, 3), (4.0, 10)]);
        // Scale -1: bucket i is (4^i, 4^(i+1)].
        let buckets = exponential(-1, 0, vec![1, 2]).to_classic().unwrap();
        assert_eq!(buckets, [(4.0, 1), (16.0, 3)]);
    }

    #[test]
    fn classic_bounds_are_distinct() {
        let mut histogram = exponential(0, 0, vec![1, 2]);
        histogram.zero_count = 4;
        histogram.zero_threshold = 2.0;
        assert_eq!(histogram.to_classic().unwrap(), [(2.0, 5), (4.0, 7)]);
        histogram.zero_threshold = 3.0;
        assert_eq!(
            histogram.to_classic().unwrap(),
            [(2.0, 1), (3.0, 5), (4.0, 7)]
        );
        // Bounds below the smallest double.
        let tiny = exponential(0, -2000, vec![1, 2, 3]).to_classic().unwrap();
        assert_eq!(tiny, [(0.0, 6)]);
    }

    #[test]
    fn rejects_a_scale_below_the_coarsest_schema() {
        assert_eq!(
            exponential(-5, 0, vec![]).to_native(0),
            Err(ExponentialError::Scale(-5))
        );
    }
}
