//! What a Prometheus server's storage would say of a sample.
//!
//! A scrape of Prometheus learns at once which samples its storage refuses, and
//! both its staleness tracking and what reaches a remote write depend on it. So
//! the same question is asked here, of the samples that this target delivered
//! before.

use std::time::Duration;

use super::{
    histogram::{self, HistogramError},
    sample::SampleValue,
};
use crate::exposition::Histogram;

/// What becomes of a sample that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored.
    New,
    /// It is there already. Targets that give times, such as a federated server,
    /// repeat samples until they have a newer one.
    Again,
}

/// Why a sample is left out. The scrape goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is older than the last one of its series.
    OutOfOrder,
    /// The series has another value at this time.
    Duplicate,
    /// Its time is too far in the past or in the future.
    OutOfBounds,
}

/// Says whether a sample would be stored.
pub trait Storage {
    /// Judges a sample of a series whose last one is `last`.
    ///
    /// # Errors
    /// Where it would be refused.
    fn judge(
        &self,
        last: Option<(i64, &SampleValue)>,
        time_ms: i64,
        value: &SampleValue,
    ) -> Result<Accepted, Refusal>;

    /// Checks a native histogram, before it is judged.
    ///
    /// # Errors
    /// Where it is not consistent, which fails the scrape.
    fn check(&self, histogram: &Histogram) -> Result<(), HistogramError>;
}

/// The rules of Prometheus' storage without an out-of-order window.
#[derive(Clone, Copy, Debug)]
pub struct InOrder {
    oldest_ms: i64,
    newest_ms: i64,
}

/// Half the range of a block: what is older than the newest sample by more than
/// this is not taken. AMP's limit is the same.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// How far ahead of the scraper's clock a target's may be.
const MAX_AHEAD: Duration = Duration::from_secs(10 * 60);

// === impl Refusal ===

impl Refusal {
    /// All refusals.
    pub const ALL: [Self; 3] = [Self::OutOfOrder, Self::Duplicate, Self::OutOfBounds];

    /// The refusal's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::Duplicate => "duplicate",
            Self::OutOfBounds => "out_of_bounds",
        }
    }
}

// === impl InOrder ===

impl InOrder {
    /// The rules as they are at `now_ms`.
    pub fn at(now_ms: i64) -> Self {
        Self {
            oldest_ms: now_ms.saturating_sub(MAX_AGE.as_millis() as i64),
            newest_ms: now_ms.saturating_add(MAX_AHEAD.as_millis() as i64),
        }
    }
}

impl Storage for InOrder {
    fn judge(
        &self,
        last: Option<(i64, &SampleValue)>,
        time_ms: i64,
        value: &SampleValue,
    ) -> Result<Accepted, Refusal> {
        if time_ms < self.oldest_ms || time_ms > self.newest_ms {
            return Err(Refusal::OutOfBounds);
        }
        match last {
            Some((last_ms, _)) if time_ms < last_ms => Err(Refusal::OutOfOrder),
            Some((last_ms, last)) if time_ms == last_ms => match last.is_same(value) {
                true => Ok(Accepted::Again),
                false => Err(Refusal::Duplicate),
            },
            _ => Ok(Accepted::New),
        }
    }

    fn check(&self, histogram: &Histogram) -> Result<(), HistogramError> {
        histogram::check(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::sample::STALE_NAN;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn a_series_goes_forward() {
        let last = SampleValue::Float(1.0);
        let judge = |time_ms, value| {
            let value = SampleValue::Float(value);
            InOrder::at(NOW_MS).judge(Some((NOW_MS, &last)), time_ms, &value)
        };
        assert_eq!(judge(NOW_MS + 1, 1.0), Ok(Accepted::New));
        assert_eq!(judge(NOW_MS, 1.0), Ok(Accepted::Again));
        assert_eq!(judge(NOW_MS, 2.0), Err(Refusal::Duplicate));
        assert_eq!(judge(NOW_MS - 1, 1.0), Err(Refusal::OutOfOrder));
    }

    #[test]
    fn values_are_the_same_to_the_bit() {
        let [nan, zero] = [f64::NAN, 0.0].map(SampleValue::Float);
        assert!(nan.is_same(&nan));
        assert!(!zero.is_same(&SampleValue::Float(-0.0)));
        assert!(SampleValue::Stale.is_same(&SampleValue::Float(STALE_NAN)));
    }

    #[test]
    fn times_are_bounded_also_for_a_new_series() {
        let judge = |time_ms| InOrder::at(NOW_MS).judge(None, time_ms, &SampleValue::Stale);
        assert_eq!(judge(NOW_MS + 600_000), Ok(Accepted::New));
        assert_eq!(judge(NOW_MS + 600_001), Err(Refusal::OutOfBounds));
        assert_eq!(judge(NOW_MS - 3_600_000), Ok(Accepted::New));
        assert_eq!(judge(NOW_MS - 3_600_001), Err(Refusal::OutOfBounds));
    }
}
