//! Totals of histograms with explicit bounds.

use std::mem::size_of_val;

use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;

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
    pub(crate) fn from_point(point: &HistogramDataPoint) -> Self {
        Self {
            bounds: point.explicit_bounds.clone(),
            counts: point.bucket_counts.clone(),
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bounds) + size_of_val(&*self.counts)
    }

    /// Adds a delta. Returns `None` if its buckets differ or a count overflows.
    ///
    /// The sum, minimum and maximum stay known only while every delta has them.
    pub(crate) fn plus(&self, delta: &HistogramDataPoint) -> Option<Self> {
        let same_buckets =
            self.bounds == delta.explicit_bounds && self.counts.len() == delta.bucket_counts.len();
        if !same_buckets {
            return None;
        }
        let counts = self.counts.iter().zip(&delta.bucket_counts);
        Some(Self {
            bounds: self.bounds.clone(),
            counts: counts
                .map(|(a, b)| a.checked_add(*b))
                .collect::<Option<_>>()?,
            count: self.count.checked_add(delta.count)?,
            sum: self.sum.zip(delta.sum).map(|(a, b)| a + b),
            min: self.min.zip(delta.min).map(|(a, b)| a.min(b)),
            max: self.max.zip(delta.max).map(|(a, b)| a.max(b)),
        })
    }

    /// Replaces the values of a data point by the total.
    pub(crate) fn write_to(&self, point: &mut HistogramDataPoint) {
        point.explicit_bounds.clone_from(&self.bounds);
        point.bucket_counts.clone_from(&self.counts);
        point.count = self.count;
        (point.sum, point.min, point.max) = (self.sum, self.min, self.max);
    }
}
