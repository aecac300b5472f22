//! Converts a classic histogram to a native histogram with custom buckets (NHCB).

use super::{Counts, Histogram, Span};

/// Schema of native histograms with custom buckets.
pub(crate) const CUSTOM_BUCKETS: i32 = -53;

/// Maximum length of a run of empty buckets that stays within a span. Splitting the
/// span would take more space.
const MAX_EMPTY_BUCKETS: u32 = 2;

/// Collects the samples of one classic histogram.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassicHistogram {
    /// Upper bounds and cumulative counts, in the order of the body.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The samples do not form a valid classic histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClassicError {
    #[error("expected a bucket's upper bound, found NaN")]
    NanBound,
    #[error("expected counts of 0 or more, found a negative count")]
    NegativeCount,
    #[error("expected cumulative bucket counts, found a count below the previous one")]
    DecreasingCount,
    #[error("expected the +Inf bucket to equal the count of the histogram")]
    CountMismatch,
}

// === impl ClassicHistogram ===

impl ClassicHistogram {
    pub(super) fn bucket(&mut self, upper_bound: f64, count: f64) {
        self.buckets.push((upper_bound, count));
    }

    pub(super) fn count(&mut self, count: f64) {
        self.count = Some(count);
    }

    pub(super) fn sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// Removes all samples and keeps the allocated memory.
    pub(super) fn clear(&mut self) {
        self.buckets.clear();
        self.count = None;
        self.sum = 0.0;
    }

    /// Converts the collected samples to a native histogram.
    ///
    /// A missing count defaults to the last bucket, a missing `+Inf` bucket to the count.
    /// The result has integer counts if all collected counts are integers.
    pub(super) fn convert(&mut self) -> Result<Histogram, ClassicError> {
        self.validate()?;
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if self.buckets.last().is_none_or(|&(_, last)| last != count) {
            return Err(ClassicError::CountMismatch);
        }
        let integers: Option<Vec<i64>> = self
            .buckets
            .iter()
            .map(|&(_, count)| integer(count))
            .collect();
        let bounds = self.buckets.iter().map(|&(bound, _)| bound);
        let (counts, max_empty) = match integers {
            Some(integers) => (integer_counts(integers), MAX_EMPTY_BUCKETS),
            None => (self.float_counts(count), 0),
        };
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS,
            zero_threshold: 0.0,
            sum: self.sum,
            positive_spans: vec![Span {
                offset: 0,
                length: self.buckets.len() as u32,
            }],
            negative_spans: Vec::new(),
            custom_values: bounds.filter(|&bound| bound != f64::INFINITY).collect(),
            gauge: false,
            counts,
        };
        // Bucket indexes stay below the number of buckets, so they fit 32 bits.
        histogram
            .compact(max_empty)
            .map_err(|_| ClassicError::CountMismatch)?;
        Ok(histogram)
    }

    /// Validates the samples, sorts the buckets and drops repeated bounds.
    fn validate(&mut self) -> Result<(), ClassicError> {
        if self.buckets.iter().any(|(bound, _)| bound.is_nan()) {
            return Err(ClassicError::NanBound);
        }
        let mut counts = self
            .buckets
            .iter()
            .map(|&(_, count)| count)
            .chain(self.count);
        if counts.any(|count| count < 0.0) {
            return Err(ClassicError::NegativeCount);
        }
        if !self
            .buckets
            .is_sorted_by(|(one, _), (other, _)| one < other)
        {
            self.buckets
                .sort_by(|(one, _), (other, _)| one.total_cmp(other));
            self.buckets
                .dedup_by(|(later, _), (first, _)| later == first);
        }
        if self.buckets.windows(2).any(|pair| pair[1].1 < pair[0].1) {
            return Err(ClassicError::DecreasingCount);
        }
        Ok(())
    }

    fn float_counts(&self, count: f64) -> Counts {
        let mut previous = 0.0;
        let own = self
            .buckets
            .iter()
            .map(|&(_, count)| count - std::mem::replace(&mut previous, count));
        let positive = own.collect();
        Counts::Float {
            count,
            zero_count: 0.0,
            positive,
            negative: Vec::new(),
        }
    }
}

fn integer_counts(mut cumulative: Vec<i64>) -> Counts {
    let count = cumulative.last().map_or(0, |&count| count as u64);
    let (mut previous, mut previous_own) = (0, 0);
    for count in &mut cumulative {
        let own = *count - previous;
        previous = *count;
        *count = own - previous_own;
        previous_own = own;
    }
    let positive_deltas = cumulative;
    Counts::Integer {
        count,
        zero_count: 0,
        positive_deltas,
        negative_deltas: Vec::new(),
    }
}

/// Converts `value` to an integer if it is one that fits 64 bits.
fn integer(value: f64) -> Option<i64> {
    let fits = value.trunc() == value && value.abs() < i64::MAX as f64;
    fits.then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(buckets: &[(f64, f64)], count: Option<f64>) -> Result<Histogram, ClassicError> {
        let mut classic = ClassicHistogram::default();
        buckets
            .iter()
            .for_each(|&(bound, count)| classic.bucket(bound, count));
        count.into_iter().for_each(|count| classic.count(count));
        classic.convert()
    }

    #[test]
    fn sorts_buckets_and_drops_repeated_ones() {
        let sorted = [(0.5, 1.0), (1.0, 3.0), (f64::INFINITY, 4.0)];
        let mixed = [(1.0, 3.0), (f64::INFINITY, 4.0), (0.5, 1.0), (1.0, 9.0)];
        let histogram = convert(&sorted, Some(4.0)).unwrap();
        assert_eq!(convert(&mixed, Some(4.0)).unwrap(), histogram);
        assert_eq!(histogram.custom_values, [0.5, 1.0]);
        let counts = Counts::Integer {
            count: 4,
            zero_count: 0,
            positive_deltas: vec![1, 1, -1],
            negative_deltas: vec![],
        };
        assert_eq!(histogram.counts, counts);
    }

    #[test]
    fn count_and_last_bucket_default_to_each_other() {
        let whole = convert(&[(1.0, 2.0), (f64::INFINITY, 2.0)], Some(2.0));
        assert_eq!(convert(&[(1.0, 2.0)], Some(2.0)), whole);
        assert_eq!(convert(&[(1.0, 2.0)], None), whole);
    }

    #[test]
    fn a_fractional_count_makes_all_counts_floats() {
        let counts = convert(&[(1.0, 1.5), (2.0, 2.0)], None).unwrap().counts;
        let (positive, negative) = (vec![1.5, 0.5], vec![]);
        assert_eq!(
            counts,
            Counts::Float {
                count: 2.0,
                zero_count: 0.0,
                positive,
                negative
            }
        );
    }

    #[test]
    fn rejects_inconsistent_counts_and_bounds() {
        let inf = f64::INFINITY;
        assert_eq!(
            convert(&[(1.0, 2.0), (inf, 1.0)], None),
            Err(ClassicError::DecreasingCount)
        );
        assert_eq!(
            convert(&[(inf, 1.0), (1.0, 2.0)], None),
            Err(ClassicError::DecreasingCount)
        );
        assert_eq!(
            convert(&[(inf, 1.0)], Some(2.0)),
            Err(ClassicError::CountMismatch)
        );
        assert_eq!(
            convert(&[(inf, -1.0)], None),
            Err(ClassicError::NegativeCount)
        );
        assert_eq!(convert(&[], Some(-1.0)), Err(ClassicError::NegativeCount));
        assert_eq!(
            convert(&[(f64::NAN, 1.0)], None),
            Err(ClassicError::NanBound)
        );
        assert_eq!(
            convert(&[(inf, f64::NAN)], None),
            Err(ClassicError::CountMismatch)
        );
    }
}
