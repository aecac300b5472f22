//! Histograms with explicit bounds.

use std::mem::size_of_val;

use mesh::verdict::Reason;
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;

use super::{Delta, Total, both};

/// Observations by bucket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

// === impl Histogram ===

impl Histogram {
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bounds) + size_of_val(&*self.counts)
    }

    /// `None` where a count grows too large.
    fn plus(&self, delta: &HistogramDataPoint) -> Option<Self> {
        let counts = self.counts.iter().zip(&delta.bucket_counts);
        Some(Self {
            bounds: self.bounds.clone(),
            counts: counts
                .map(|(a, b)| a.checked_add(*b))
                .collect::<Option<_>>()?,
            count: self.count.checked_add(delta.count)?,
            sum: both(self.sum, delta.sum, |a, b| a + b),
            min: both(self.min, delta.min, f64::min),
            max: both(self.max, delta.max, f64::max),
        })
    }
}

// === impl HistogramDataPoint ===

impl Delta for HistogramDataPoint {
    fn problem(&self, _: bool) -> Option<(Reason, &'static str)> {
        let infinite = self.sum.is_some_and(|sum| !sum.is_finite());
        infinite.then_some((Reason::Malformed, "a delta whose sum is not finite"))
    }

    fn begin(&self) -> Total {
        Total::Histogram(Histogram {
            bounds: self.explicit_bounds.clone(),
            counts: self.bucket_counts.clone(),
            count: self.count,
            sum: self.sum,
            min: self.min,
            max: self.max,
        })
    }

    fn add_to(&self, total: &mut Total) -> bool {
        let Total::Histogram(total) = total else {
            return false;
        };
        // Counts of other buckets cannot be added.
        let alike =
            total.bounds == self.explicit_bounds && total.counts.len() == self.bucket_counts.len();
        let sum = alike.then(|| total.plus(self)).flatten();
        let Some(sum) = sum else { return false };
        *total = sum;
        true
    }

    fn cumulative(mut self, start: u64, total: &Total) -> Self {
        self.start_time_unix_nano = start;
        if let Total::Histogram(total) = total {
            self.explicit_bounds.clone_from(&total.bounds);
            self.bucket_counts.clone_from(&total.counts);
            self.count = total.count;
            (self.sum, self.min, self.max) = (total.sum, total.min, total.max);
        }
        self
    }
}
