//! Delivery rate: samples that a destination has completed in a second.

use std::time::Duration;

use tokio::time::Instant;

/// Rate of completed samples over about the last minute.
#[derive(Debug)]
pub(crate) struct DeliveryRate {
    /// Samples of the current interval.
    samples: u64,
    interval_began: Instant,
    /// Samples a second in the intervals before; `None` before the first one has ended.
    average: Option<f64>,
}

/// Length of an interval.
const INTERVAL: Duration = Duration::from_secs(5);
/// Weight of the latest interval in the average.
const WEIGHT: f64 = 0.2;

// === impl DeliveryRate ===

impl DeliveryRate {
    pub(crate) fn new() -> Self {
        Self {
            samples: 0,
            interval_began: Instant::now(),
            average: None,
        }
    }

    /// Counts samples that were completed now.
    pub(crate) fn count(&mut self, samples: u64) {
        self.advance();
        self.samples += samples;
    }

    /// Returns the time in which a backlog is delivered at this rate. Zero without a backlog;
    /// `None` while nothing is delivered.
    pub(crate) fn time_for(&mut self, waiting: u64) -> Option<Duration> {
        self.advance();
        if waiting == 0 {
            return Some(Duration::ZERO);
        }
        let rate = self.average.filter(|rate| *rate > 0.5)?;
        Some(Duration::from_secs_f64(waiting as f64 / rate))
    }

    fn advance(&mut self) {
        let elapsed = self.interval_began.elapsed();
        if elapsed < INTERVAL {
            return;
        }
        let latest = self.samples as f64 / elapsed.as_secs_f64();
        // A long pause counts as the intervals that it has.
        let intervals = elapsed.as_secs_f64() / INTERVAL.as_secs_f64();
        let kept = (1.0 - WEIGHT).powf(intervals);
        let average = self.average.unwrap_or(latest);
        self.average = Some(average * kept + latest * (1.0 - kept));
        (self.samples, self.interval_began) = (0, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn estimates_the_time_of_a_backlog() {
        let mut rate = DeliveryRate::new();
        assert_eq!(rate.time_for(0), Some(Duration::ZERO));
        assert_eq!(rate.time_for(100), None);
        for _ in 0..60 {
            rate.count(50);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let estimate = rate.time_for(6_000).unwrap().as_secs();
        assert!((115..=125).contains(&estimate), "{estimate}");
        // Nothing is delivered any more.
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(rate.time_for(6_000), None);
    }
}
