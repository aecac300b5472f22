//! A classic histogram that is collected to become a native one with custom
//! buckets (NHCB).

use super::{Counts, Histogram, Span};

/// The schema of histograms with custom buckets.
const CUSTOM_BUCKETS: i32 = -53;

/// So many empty buckets between others are cheaper kept than cut out.
const MAX_EMPTY_BUCKETS: u32 = 2;

/// What was seen of a classic histogram.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassicHistogram {
    /// Upper bounds and cumulative counts, as they came.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Why a classic histogram is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClassicError {
    #[error("expected a bucket's upper bound, found NaN")]
    Bound,
    #[error("expected counts of 0 or more")]
    Negative,
    #[error("expected buckets whose counts do not fall")]
    Falling,
    #[error("expected the +Inf bucket to count what the histogram counts")]
    Mismatch,
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

    /// Forgets what was seen but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.buckets.clear();
        self.count = None;
        self.sum = 0.0;
    }

    /// The native histogram of what was seen since it was cleared.
    ///
    /// A count that is missing is that of the last bucket, a last bucket that is
    /// missing is that of the count. It is of integers where all counts are.
    pub(super) fn convert(&mut self) -> Result<Histogram, ClassicError> {
        self.check()?;
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if self.buckets.last().is_none_or(|&(_, last)| last != count) {
            return Err(ClassicError::Mismatch);
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
        // There is no index of more bits than the number of buckets has.
        histogram
            .compact(max_empty)
            .map_err(|_| ClassicError::Mismatch)?;
        Ok(histogram)
    }

    /// Sorts the buckets and drops those that come a second time.
    fn check(&mut self) -> Result<(), ClassicError> {
        if self.buckets.iter().any(|(bound, _)| bound.is_nan()) {
            return Err(ClassicError::Bound);
        }
        let mut counts = self
            .buckets
            .iter()
            .map(|&(_, count)| count)
            .chain(self.count);
        if counts.any(|count| count < 0.0) {
            return Err(ClassicError::Negative);
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
        match self.buckets.windows(2).any(|pair| pair[1].1 < pair[0].1) {
            true => Err(ClassicError::Falling),
            false => Ok(()),
        }
    }

    fn float_counts(&self, count: f64) -> Counts {
        let mut before = 0.0;
        let own = self
            .buckets
            .iter()
            .map(|&(_, count)| count - std::mem::replace(&mut before, count));
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
    let (mut before, mut own_before) = (0, 0);
    for count in &mut cumulative {
        let own = *count - before;
        before = *count;
        *count = own - own_before;
        own_before = own;
    }
    let positive_deltas = cumulative;
    Counts::Integer {
        count,
        zero_count: 0,
        positive_deltas,
        negative_deltas: Vec::new(),
    }
}

/// `value` as an integer, where it is one of 64 bits.
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
    fn buckets_in_any_order_and_twice_are_one_histogram() {
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
    fn count_and_last_bucket_stand_in_for_each_other() {
        let whole = convert(&[(1.0, 2.0), (f64::INFINITY, 2.0)], Some(2.0));
        assert_eq!(convert(&[(1.0, 2.0)], Some(2.0)), whole);
        assert_eq!(convert(&[(1.0, 2.0)], None), whole);
    }

    #[test]
    fn a_fraction_makes_all_counts_floats() {
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
    fn what_does_not_add_up_is_refused() {
        let inf = f64::INFINITY;
        assert_eq!(
            convert(&[(1.0, 2.0), (inf, 1.0)], None),
            Err(ClassicError::Falling)
        );
        assert_eq!(
            convert(&[(inf, 1.0), (1.0, 2.0)], None),
            Err(ClassicError::Falling)
        );
        assert_eq!(
            convert(&[(inf, 1.0)], Some(2.0)),
            Err(ClassicError::Mismatch)
        );
        assert_eq!(convert(&[(inf, -1.0)], None), Err(ClassicError::Negative));
        assert_eq!(convert(&[], Some(-1.0)), Err(ClassicError::Negative));
        assert_eq!(convert(&[(f64::NAN, 1.0)], None), Err(ClassicError::Bound));
        assert_eq!(
            convert(&[(inf, f64::NAN)], None),
            Err(ClassicError::Mismatch)
        );
    }
}
