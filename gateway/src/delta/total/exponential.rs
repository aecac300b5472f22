//! Exponential histograms: brought to one resolution, then added.

mod side;

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;

use super::{Delta, Total, both};
use side::Side;

/// Observations by bucket, at a resolution that holds them all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exponential {
    scale: i32,
    positive: Side,
    negative: Side,
    zero_count: u64,
    zero_threshold: f64,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

/// The scales that OTLP's SDKs use.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
/// Buckets of a side, as an SDK has them by default; a total with more loses
/// resolution.
const MAX_BUCKETS: usize = 160;

// === impl Exponential ===

impl Exponential {
    fn of(delta: &ExponentialHistogramDataPoint) -> Self {
        let mut histogram = Self {
            scale: delta.scale,
            positive: Side::of(delta.positive.as_ref()),
            negative: Side::of(delta.negative.as_ref()),
            zero_count: delta.zero_count,
            zero_threshold: delta.zero_threshold,
            count: delta.count,
            sum: delta.sum,
            min: delta.min,
            max: delta.max,
        };
        histogram.fit();
        histogram
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.positive.heap_bytes() + self.negative.heap_bytes()
    }

    /// `None` where a count grows too large.
    fn plus(mut self, mut other: Self) -> Option<Self> {
        let threshold = self.zero_threshold.max(other.zero_threshold);
        self.widen_zero(threshold)?;
        other.widen_zero(threshold)?;
        let scale = self.scale.min(other.scale);
        let scale = Side::common_scale(
            scale,
            [
                (&self.positive, self.scale, &other.positive, other.scale),
                (&self.negative, self.scale, &other.negative, other.scale),
            ],
            MAX_BUCKETS,
        );
        self.rescale(scale);
        other.rescale(scale);
        Some(Self {
            scale,
            positive: self.positive.plus(&other.positive)?,
            negative: self.negative.plus(&other.negative)?,
            zero_count: self.zero_count.checked_add(other.zero_count)?,
            // Widening may have taken it to a bucket's end.
            zero_threshold: self.zero_threshold.max(other.zero_threshold),
            count: self.count.checked_add(other.count)?,
            sum: both(self.sum, other.sum, |a, b| a + b),
            min: both(self.min, other.min, f64::min),
            max: both(self.max, other.max, f64::max),
        })
    }

    /// Counts the buckets that reach below `threshold` as zero.
    fn widen_zero(&mut self, threshold: f64) -> Option<()> {
        if threshold <= self.zero_threshold {
            return Some(());
        }
        self.zero_threshold = threshold;
        for side in [&mut self.positive, &mut self.negative] {
            let (moved, end) = side.take_below(threshold, self.scale);
            self.zero_count = self.zero_count.checked_add(moved)?;
            self.zero_threshold = self.zero_threshold.max(end);
        }
        Some(())
    }

    /// Lowers the resolution until each side has no more buckets than it may.
    fn fit(&mut self) {
        while self.positive.len().max(self.negative.len()) > MAX_BUCKETS {
            self.rescale(self.scale - 1);
        }
    }

    fn rescale(&mut self, scale: i32) {
        let steps = self.scale.saturating_sub(scale).max(0) as u32;
        self.positive.halve(steps);
        self.negative.halve(steps);
        self.scale = scale.min(self.scale);
    }
}

// === impl ExponentialHistogramDataPoint ===

impl Delta for ExponentialHistogramDataPoint {
    fn problem(&self, _: bool) -> Option<(Reason, &'static str)> {
        if !SCALES.contains(&self.scale) {
            return Some((Reason::InvalidHistogram, "a scale outside -10 to 20"));
        }
        if !(self.zero_threshold.is_finite() && self.zero_threshold >= 0.0) {
            let problem = "a zero threshold that is negative or not finite";
            return Some((Reason::InvalidHistogram, problem));
        }
        if !(Side::is_valid(self.positive.as_ref()) && Side::is_valid(self.negative.as_ref())) {
            return Some((Reason::InvalidHistogram, "buckets beyond any double"));
        }
        let infinite = self.sum.is_some_and(|sum| !sum.is_finite());
        infinite.then_some((Reason::Malformed, "a delta whose sum is not finite"))
    }

    fn begin(&self) -> Total {
        Total::Exponential(Exponential::of(self))
    }

    fn add_to(&self, total: &mut Total) -> bool {
        let Total::Exponential(total) = total else {
            return false;
        };
        let Some(sum) = total.clone().plus(Exponential::of(self)) else {
            return false;
        };
        *total = sum;
        true
    }

    fn cumulative(mut self, start: u64, total: &Total) -> Self {
        self.start_time_unix_nano = start;
        if let Total::Exponential(total) = total {
            self.scale = total.scale;
            self.positive = Some(total.positive.buckets());
            self.negative = Some(total.negative.buckets());
            (self.zero_count, self.zero_threshold) = (total.zero_count, total.zero_threshold);
            self.count = total.count;
            (self.sum, self.min, self.max) = (total.sum, total.min, total.max);
        }
        self
    }
}

#[cfg(test)]
mod tests;
