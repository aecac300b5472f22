//! Storage rules: which samples a Prometheus server would store.
//!
//! In Prometheus a scrape learns at once which samples the storage rejects. Staleness
//! tracking and remote write depend on that. promesh has no local storage, so the scrape
//! applies the same rules to the last sample of each series.

use std::time::Duration;

use super::histogram::{self, HistogramError};
use crate::{exposition::Histogram, samples::SampleValue};

/// Outcome for a sample that is not rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// New sample, which is stored.
    New,
    /// Sample that is stored already. Targets with explicit timestamps, such as a federated
    /// server, repeat a sample until they have a newer one.
    AlreadyStored,
}

/// Reason for rejecting a sample. The scrape continues without the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Sample older than the last one of its series.
    OutOfOrder,
    /// Sample with the same timestamp as the last one of its series and another value.
    Duplicate,
    /// Timestamp too far in the past or in the future.
    OutOfBounds,
}

/// Rules that decide whether a sample is stored.
pub trait Storage {
    /// Checks a sample of a series whose last stored sample is `last`.
    ///
    /// # Errors
    /// Returns the reason if the sample is rejected.
    fn accept(
        &self,
        last: Option<(i64, &SampleValue)>,
        time_ms: i64,
        value: &SampleValue,
    ) -> Result<Accepted, Rejection>;

    /// Checks a native histogram. The scrape calls it before [`Storage::accept`].
    ///
    /// # Errors
    /// Returns an error if the histogram is inconsistent, which fails the scrape.
    fn check_histogram(&self, histogram: &Histogram) -> Result<(), HistogramError>;
}

/// Rules of the Prometheus storage without an out-of-order window.
#[derive(Clone, Copy, Debug)]
pub struct InOrder {
    oldest_ms: i64,
    newest_ms: i64,
}

/// Maximum age of a sample (1 h): half the range of a Prometheus block. AMP has the same
/// limit.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// Maximum time by which a sample may be ahead of this receiver's clock (10 min).
const MAX_AHEAD: Duration = Duration::from_secs(10 * 60);

// === impl Rejection ===

impl Rejection {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::OutOfOrder, Self::Duplicate, Self::OutOfBounds];

    /// Name of the reason in metrics.
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
    /// Creates the rules for a scrape at `now_ms`.
    pub fn at(now_ms: i64) -> Self {
        Self {
            oldest_ms: now_ms.saturating_sub(MAX_AGE.as_millis() as i64),
            newest_ms: now_ms.saturating_add(MAX_AHEAD.as_millis() as i64),
        }
    }
}

impl Storage for InOrder {
    fn accept(
        &self,
        last: Option<(i64, &SampleValue)>,
        time_ms: i64,
        value: &SampleValue,
    ) -> Result<Accepted, Rejection> {
        if time_ms < self.oldest_ms || time_ms > self.newest_ms {
            return Err(Rejection::OutOfBounds);
        }
        match last {
            Some((last_ms, _)) if time_ms < last_ms => Err(Rejection::OutOfOrder),
            Some((last_ms, last)) if time_ms == last_ms => {
                if last.is_same(value) {
                    Ok(Accepted::AlreadyStored)
                } else {
                    Err(Rejection::Duplicate)
                }
            }
            _ => Ok(Accepted::New),
        }
    }

    fn check_histogram(&self, histogram: &Histogram) -> Result<(), HistogramError> {
        histogram::check(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::STALE_NAN;

    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn rejects_older_and_conflicting_samples() {
        let last = SampleValue::Float(1.0);
        let accept = |time_ms, value| {
            let value = SampleValue::Float(value);
            InOrder::at(NOW_MS).accept(Some((NOW_MS, &last)), time_ms, &value)
        };
        assert_eq!(accept(NOW_MS + 1, 1.0), Ok(Accepted::New));
        assert_eq!(accept(NOW_MS, 1.0), Ok(Accepted::AlreadyStored));
        assert_eq!(accept(NOW_MS, 2.0), Err(Rejection::Duplicate));
        assert_eq!(accept(NOW_MS - 1, 1.0), Err(Rejection::OutOfOrder));
    }

    #[test]
    fn compares_values_bit_by_bit() {
        let [nan, zero] = [f64::NAN, 0.0].map(SampleValue::Float);
        assert!(nan.is_same(&nan));
        assert!(!zero.is_same(&SampleValue::Float(-0.0)));
        assert!(SampleValue::Stale.is_same(&SampleValue::Float(STALE_NAN)));
    }

    #[test]
    fn rejects_out_of_bounds_timestamps_of_a_new_series() {
        let accept = |time_ms| InOrder::at(NOW_MS).accept(None, time_ms, &SampleValue::Stale);
        assert_eq!(accept(NOW_MS + 600_000), Ok(Accepted::New));
        assert_eq!(accept(NOW_MS + 600_001), Err(Rejection::OutOfBounds));
        assert_eq!(accept(NOW_MS - 3_600_000), Ok(Accepted::New));
        assert_eq!(accept(NOW_MS - 3_600_001), Err(Rejection::OutOfBounds));
    }
}
