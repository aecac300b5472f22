//! The buckets of one sign: bucket `i` counts what is above `2^(i / 2^scale)` and
//! not above the next such bound.

use std::mem::size_of_val;

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

/// Buckets from the first one that is not empty to the last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    offset: i32,
    counts: Vec<u64>,
}

/// Beyond the index of the largest and the smallest double at the finest scale.
const MAX_INDEX: i32 = 1075 << 20;

// === impl Side ===

impl Side {
    pub(super) fn of(buckets: Option<&Buckets>) -> Self {
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

    /// Whether all indices are of buckets that a double can fall in.
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

    pub(super) fn buckets(&self) -> Buckets {
        Buckets {
            offset: self.offset,
            bucket_counts: self.counts.clone(),
        }
    }

    /// Joins neighbours, `steps` times.
    pub(super) fn halve(&mut self, steps: u32) {
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

    /// The finest scale, at most `scale`, at which the pairs, each of its own scale,
    /// have no more than `max` buckets together.
    pub(super) fn common_scale(
        mut scale: i32,
        pairs: [(&Self, i32, &Self, i32); 2],
        max: usize,
    ) -> i32 {
        let span = |scale: i32, (a, a_scale, b, b_scale): (&Self, i32, &Self, i32)| {
            let ends = [a.ends(a_scale - scale), b.ends(b_scale - scale)];
            let first = ends.iter().flatten().map(|(first, _)| *first).min();
            let last = ends.iter().flatten().map(|(_, last)| *last).max();
            last.zip(first)
                .map_or(0, |(last, first)| i64::from(last) - i64::from(first) + 1)
        };
        while pairs.iter().any(|pair| span(scale, *pair) > max as i64) {
            scale -= 1;
        }
        scale
    }

    /// Adds buckets of the same scale; `None` where a count grows too large.
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

    /// Takes out the buckets that reach below `threshold`: how much they counted, and
    /// where the last of them ends.
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

    /// Its first and last index after `steps` halvings.
    fn ends(&self, steps: i32) -> Option<(i32, i32)> {
        let last = self.counts.len().checked_sub(1)?;
        let shift = steps.clamp(0, 31);
        let last = self.offset + last as i32;
        Some((self.offset >> shift, last >> shift))
    }
}
