//! Exponential histograms as native histograms.
//!
//! OTLP lists every bucket from an offset on; a native histogram has runs of
//! buckets ("spans") and the differences between neighbours. Bucket `i` of OTLP
//! covers `(base^i, base^(i+1)]`, bucket `i` of Prometheus `(base^(i-1), base^i]`,
//! so indexes go up by one.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use proto::v1::{self, histogram};

use super::STALE_NAN;

/// The coarsest and the finest schema there are.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// An OTLP scale can only be this much finer; beyond, nothing is left of an i32
/// bucket index.
const MAX_SCALE_DOWN: u32 = 31;
/// Empty buckets up to this many are listed rather than starting a new span,
/// which would cost as much.
const MAX_LISTED_GAP: i64 = 2;

/// An exponential histogram, whether it was read by hand or by prost.
#[derive(Clone, Debug, Default)]
pub struct Exponential {
    /// All observations.
    pub count: u64,
    /// Their sum, where there is one.
    pub sum: Option<f64>,
    /// `base = 2^(2^-scale)`.
    pub scale: i32,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// The zero bucket's width.
    pub zero_threshold: f64,
    /// Buckets of positive observations.
    pub positive: Buckets,
    /// Buckets of negative observations.
    pub negative: Buckets,
    /// Whether the series ended.
    pub stale: bool,
}

/// An exponential histogram that has no native form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExponentialError {
    /// Coarser than a native histogram can be.
    #[error("scale {0}, expected -4 or more")]
    Scale(i32),
    /// A bucket whose index does not fit.
    #[error("bucket index {0} is out of range")]
    Index(i64),
}

/// Spans of buckets and the differences between their counts.
type Layout = (Vec<v1::BucketSpan>, Vec<i64>);

// === impl Exponential ===

impl Exponential {
    /// The native histogram with at most `max_buckets` buckets, at the cost of
    /// resolution; 0 for no limit.
    ///
    /// # Errors
    /// Where it is coarser than any schema, or an index does not fit.
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

/// The staleness marker of a series of native histograms.
pub fn stale() -> v1::Histogram {
    v1::Histogram {
        count: Some(histogram::Count::CountInt(0)),
        sum: STALE_NAN,
        zero_count: Some(histogram::ZeroCount::ZeroCountInt(0)),
        ..Default::default()
    }
}

/// Lays out OTLP buckets, `2^scale_down` of them merged into one.
fn layout(buckets: &Buckets, scale_down: u32) -> Result<Layout, ExponentialError> {
    let scale_down = scale_down.min(MAX_SCALE_DOWN);
    let merged = buckets
        .bucket_counts
        .iter()
        .zip(i64::from(buckets.offset)..);
    spans(merged.map(|(&count, index)| ((index >> scale_down) + 1, count)))
}

/// Lays out counts by bucket index, given in ascending order; counts of one
/// index are added up and empty buckets left out where that saves a place.
pub fn spans(counts: impl Iterator<Item = (i64, u64)>) -> Result<Layout, ExponentialError> {
    let mut merged: Vec<(i64, u64)> = Vec::new();
    for (index, count) in counts.filter(|(_, count)| *count > 0) {
        match merged.last_mut() {
            Some((last, total)) if *last == index => *total = total.saturating_add(count),
            _ => merged.push((index, count)),
        }
    }
    let (mut spans, mut deltas) = (Vec::<v1::BucketSpan>::new(), Vec::new());
    let (mut next, mut previous) = (0i64, 0u64);
    for (index, count) in merged {
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
