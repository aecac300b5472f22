//! Totals of exponential histograms: merged at the coarser scale of the two.

mod buckets;

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;

use buckets::DenseBuckets;

/// Observations by bucket, at the finest scale with at most [`MAX_BUCKETS`] per sign.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exponential {
    scale: i32,
    positive: DenseBuckets,
    negative: DenseBuckets,
    zero_count: u64,
    zero_threshold: f64,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

/// Scales that OTLP SDKs use.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
/// Maximum number of buckets per sign, the default of SDKs. A total that needs more is
/// downscaled.
const MAX_BUCKETS: usize = 160;

// === impl Exponential ===

impl Exponential {
    pub(crate) fn from_point(point: &ExponentialHistogramDataPoint) -> Self {
        let mut histogram = Self {
            scale: point.scale,
            positive: DenseBuckets::new(point.positive.as_ref()),
            negative: DenseBuckets::new(point.negative.as_ref()),
            zero_count: point.zero_count,
            zero_threshold: point.zero_threshold,
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
        };
        histogram.limit_buckets();
        histogram
    }

    /// Checks the buckets of a point. Returns a description of the problem, if any.
    pub(crate) fn problem(point: &ExponentialHistogramDataPoint) -> Option<&'static str> {
        if !SCALES.contains(&point.scale) {
            return Some("exponential histogram whose scale is not within -10 and 20");
        }
        if !(point.zero_threshold.is_finite() && point.zero_threshold >= 0.0) {
            return Some("exponential histogram whose zero threshold is negative or not finite");
        }
        let valid = |buckets: &Option<_>| DenseBuckets::is_valid(buckets.as_ref());
        if !(valid(&point.positive) && valid(&point.negative)) {
            return Some("exponential histogram with buckets beyond the range of a double");
        }
        None
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.positive.heap_bytes() + self.negative.heap_bytes()
    }

    /// Adds another histogram. Returns `None` if a count overflows.
    pub(crate) fn plus(mut self, mut other: Self) -> Option<Self> {
        let threshold = self.zero_threshold.max(other.zero_threshold);
        self.widen_zero(threshold)?;
        other.widen_zero(threshold)?;
        let scale = self.scale.min(other.scale);
        let scale = DenseBuckets::common_scale(
            scale,
            [
                (&self.positive, self.scale, &other.positive, other.scale),
                (&self.negative, self.scale, &other.negative, other.scale),
            ],
            MAX_BUCKETS,
        );
        self.downscale_to(scale);
        other.downscale_to(scale);
        Some(Self {
            scale,
            positive: self.positive.plus(&other.positive)?,
            negative: self.negative.plus(&other.negative)?,
            zero_count: self.zero_count.checked_add(other.zero_count)?,
            // `widen_zero` may have raised either threshold to a bucket's upper bound.
            zero_threshold: self.zero_threshold.max(other.zero_threshold),
            count: self.count.checked_add(other.count)?,
            sum: self.sum.zip(other.sum).map(|(a, b)| a + b),
            min: self.min.zip(other.min).map(|(a, b)| a.min(b)),
            max: self.max.zip(other.max).map(|(a, b)| a.max(b)),
        })
    }

    /// Replaces the values of a data point by the total.
    pub(crate) fn write_to(&self, point: &mut ExponentialHistogramDataPoint) {
        point.scale = self.scale;
        point.positive = Some(self.positive.to_proto());
        point.negative = Some(self.negative.to_proto());
        (point.zero_count, point.zero_threshold) = (self.zero_count, self.zero_threshold);
        point.count = self.count;
        (point.sum, point.min, point.max) = (self.sum, self.min, self.max);
    }

    /// Raises the zero threshold. Moves the counts of buckets that start below it into
    /// the zero bucket. Returns `None` if the zero count overflows.
    fn widen_zero(&mut self, threshold: f64) -> Option<()> {
        if threshold <= self.zero_threshold {
            return Some(());
        }
        self.zero_threshold = threshold;
        for buckets in [&mut self.positive, &mut self.negative] {
            let (moved, end) = buckets.take_below(threshold, self.scale);
            self.zero_count = self.zero_count.checked_add(moved)?;
            self.zero_threshold = self.zero_threshold.max(end);
        }
        Some(())
    }

    /// Downscales until each sign has at most [`MAX_BUCKETS`] buckets.
    fn limit_buckets(&mut self) {
        while self.positive.len().max(self.negative.len()) > MAX_BUCKETS {
            self.downscale_to(self.scale - 1);
        }
    }

    fn downscale_to(&mut self, scale: i32) {
        let steps = self.scale.saturating_sub(scale).max(0) as u32;
        self.positive.downscale(steps);
        self.negative.downscale(steps);
        self.scale = scale.min(self.scale);
    }
}

#[cfg(test)]
mod tests;
