//! Buckets of one sign of an exponential histogram.
//!
//! Bucket `i` counts values in `(2^(i / 2^scale), 2^((i + 1) / 2^scale)]`.

use std::mem::size_of_val;

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

/// Counts of adjacent buckets, from the first to the last bucket that is not empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DenseBuckets {
    offset: i32,
    counts: Vec<u64>,
}

/// Upper limit of the index of any finite double at the finest scale.
const MAX_INDEX: i32 = 1075 << 20;

// === impl DenseBuckets ===

impl DenseBuckets {
    pub(super) fn new(buckets: Option<&Buckets>) -> Self {
        let Some(buckets) = buckets else {
            return Self::default();
        };
        let counts = &buckets.bucket_counts;
        let filled = |count: &u64| *count > 0;
        let (Some(first), Some(last)) = (
            counts.iter().position(filled),
            counts.iter().rposition(filled),
        ) else {
            return Self::default();
        };
        Self {
            offset: buckets.offset + first as i32,
            counts: counts[first..=last].to_vec(),
        }
    }

    /// Returns true if a double can fall in every bucket.
    pub(super) fn is_valid(buckets: Option<&Buckets>) -> bool {
        buckets.is_none_or(|buckets| {
            let len = i32::try_from(buckets.bucket_counts.len()).ok();
            let end = len.and_then(|len| buckets.offset.checked_add(len));
            buckets.offset >= -MAX_INDEX && end.is_some_and(|end| end <= MAX_INDEX)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.counts)
    }

    pub(super) fn to_proto(&self) -> Buckets {
        Buckets {
            offset: self.offset,
            bucket_counts: self.counts.clone(),
        }
    }

    /// Lowers the scale by `steps`. Each step merges pairs of adjacent buckets.
    pub(super) fn downscale(&mut self, steps: u32) {
        if steps == 0 || self.counts.is_empty() {
            return;
        }
        let shift = steps.min(31);
        let offset = self.offset >> shift;
        let mut counts: Vec<u64> = Vec::new();
        for (i, count) in (self.offset..).zip(&self.counts) {
            let at = ((i >> shift) - offset) as usize;
            counts.resize(counts.len().max(at + 1), 0);
            counts[at] = counts[at].saturating_add(*count);
        }
        *self = Self { offset, counts };
    }

    /// Finds the finest scale, at most `scale`, at which each pair of buckets merges into
    /// at most `max` buckets. A pair is `(a, scale of a, b, scale of b)`.
    pub(super) fn common_scale(
        mut scale: i32,
        pairs: [(&Self, i32, &Self, i32); 2],
        max: usize,
    ) -> i32 {
        let span = |scale: i32, (a, a_scale, b, b_scale): (&Self, i32, &Self, i32)| {
            let index_range = [
                a.index_range(a_scale - scale),
                b.index_range(b_scale - scale),
            ];
            let first = index_range.iter().flatten().map(|(first, _)| *first).min();
            let last = index_range.iter().flatten().map(|(_, last)| *last).max();
            last.zip(first)
                .map_or(0, |(last, first)| i64::from(last) - i64::from(first) + 1)
        };
        while pairs.iter().any(|pair| span(scale, *pair) > max as i64) {
            scale -= 1;
        }
        scale
    }

    /// Adds buckets of the same scale. Returns `None` if a count overflows.
    pub(super) fn plus(mut self, other: &Self) -> Option<Self> {
        if self.counts.is_empty() {
            return Some(other.clone());
        }
        if let Some(missing) = (self.offset - other.offset)
            .try_into()
            .ok()
            .filter(|n| *n > 0)
            && !other.counts.is_empty()
        {
            let empty: usize = missing;
            self.counts.splice(0..0, std::iter::repeat_n(0, empty));
            self.offset = other.offset;
        }
        for (i, count) in (other.offset..).zip(&other.counts) {
            let at = (i - self.offset) as usize;
            self.counts.resize(self.counts.len().max(at + 1), 0);
            self.counts[at] = self.counts[at].checked_add(*count)?;
        }
        Some(self)
    }

    /// Removes the buckets that start below `threshold`. Returns their total count and
    /// the upper bound of the last one.
    pub(super) fn take_below(&mut self, threshold: f64, scale: i32) -> (u64, f64) {
        let width = f64::from(-scale).exp2();
        let bound = |index: i32| (f64::from(index) * width).exp2();
        let below = (self.offset..)
            .zip(&self.counts)
            .take_while(|(i, _)| bound(*i) < threshold)
            .count();
        if below == 0 {
            return (0, 0.0);
        }
        let end = bound(self.offset + below as i32);
        let moved = self.counts.drain(..below).fold(0, u64::saturating_add);
        self.offset += below as i32;
        (moved, end)
    }

    /// First and last index after downscaling by `steps`; `None` if all are empty.
    fn index_range(&self, steps: i32) -> Option<(i32, i32)> {
        let last = self.counts.len().checked_sub(1)?;
        let shift = steps.clamp(0, 31);
        let last = self.offset + last as i32;
        Some((self.offset >> shift, last >> shift))
    }
}
