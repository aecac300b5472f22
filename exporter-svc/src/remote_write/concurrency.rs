//! Adaptive limit of the requests in flight to one destination.
//!
//! All senders of a process share one limit per destination. While requests succeed, as
//! many are in flight as the configuration allows. When the backend throttles or fails,
//! the exporter stops posting for its `Retry-After` or for an exponential backoff. It
//! also halves the window of requests in flight. The window then grows by one request
//! per round trip, so that a recovering backend does not receive all waiting requests
//! at once.
//!
//! While the backend refuses requests as such, the destination is on hold: one request at a
//! time is tried, at growing intervals.

use std::time::Duration;

use mesh_base::backoff::{Backoff, jitter};
use tokio::time::Instant;

/// Bounds of an adaptive concurrency limit.
#[derive(Clone, Copy, Debug)]
pub struct ConcurrencyLimits {
    /// Maximum number of requests in flight.
    pub window: usize,
    /// Initial backoff.
    pub min_backoff: Duration,
    /// Maximum backoff.
    pub max_backoff: Duration,
}

/// Adaptive concurrency limit of one destination.
#[derive(Debug)]
pub struct AdaptiveConcurrency {
    limits: ConcurrencyLimits,
    /// Current maximum number of requests in flight.
    window: f64,
    /// Backoff after failed posts. It starts over with each response.
    failure_backoff: Backoff,
    /// Interval of the attempts while the destination is on hold. It starts over with each
    /// stored sample.
    hold: Backoff,
    /// Interval of the attempts while the backend refuses even empty requests.
    hold_of_all: Backoff,
    /// End of the current backoff.
    blocked_until: Instant,
    /// Moving average of the time that posts take.
    latency: Duration,
}

/// Upper bound of a backend's `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// First and longest interval of the attempts on hold. The longest one is short enough for
/// samples to flow within 10 s once the backend accepts requests.
const MIN_HOLD: Duration = Duration::from_millis(3500);
const MAX_HOLD: Duration = Duration::from_secs(5);
/// First and longest interval while the backend refuses even empty requests with a status that
/// otherwise means the samples. Remote write forbids retries after it.
const MIN_HOLD_OF_ALL: Duration = Duration::from_secs(9);
const MAX_HOLD_OF_ALL: Duration = Duration::from_secs(60);
/// Bounds of the minimum time before a deadline to start a post.
const MIN_POST_TIME: Duration = Duration::from_millis(100);
const MAX_POST_TIME: Duration = Duration::from_secs(1);

// === impl AdaptiveConcurrency ===

impl AdaptiveConcurrency {
    /// Creates a limit at the full window.
    pub fn new(limits: ConcurrencyLimits) -> Self {
        Self {
            limits,
            window: limits.window.max(1) as f64,
            failure_backoff: Backoff::with_bounds(limits.min_backoff, limits.max_backoff),
            hold: Backoff::with_bounds(MIN_HOLD, MAX_HOLD),
            hold_of_all: Backoff::with_bounds(MIN_HOLD_OF_ALL, MAX_HOLD_OF_ALL),
            blocked_until: Instant::now(),
            latency: Duration::ZERO,
        }
    }

    /// Returns true if another request may be posted while `in_flight` are in flight.
    pub fn allows(&self, in_flight: usize, now: Instant) -> bool {
        now >= self.blocked_until && in_flight < self.window as usize
    }

    /// Remaining time of the current backoff; zero if there is none.
    pub fn backoff(&self, now: Instant) -> Duration {
        self.blocked_until.saturating_duration_since(now)
    }

    /// Minimum time before a deadline to start a post (law 3): the recent latency, at
    /// most one second. With a slower backend the post starts nevertheless. Its
    /// sender's deadline then passes, and the sender learns to use a longer timeout.
    pub fn min_post_time(&self) -> Duration {
        self.latency.clamp(MIN_POST_TIME, MAX_POST_TIME)
    }

    /// Current maximum number of requests in flight.
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// Records that the backend accepted a post. Ends a hold.
    pub fn record_success(&mut self, took: Duration) {
        self.hold.reset();
        self.hold_of_all.reset();
        self.record_response(took);
    }

    /// Records that the backend refused a request as such, for example with 401. The next
    /// attempt is a single request, after an interval. `refuses_empty` is true if the backend
    /// refuses empty requests too.
    pub fn record_hold(&mut self, refuses_empty: bool, now: Instant) {
        self.window = 1.0;
        if now < self.blocked_until {
            // Another request of the same attempt.
            return;
        }
        let hold = match refuses_empty {
            true => &mut self.hold_of_all,
            false => &mut self.hold,
        };
        let interval = hold.bound();
        self.blocked_until = now + interval + jitter(interval);
    }

    fn record_response(&mut self, took: Duration) {
        self.failure_backoff.reset();
        self.latency = (self.latency * 7 + took) / 8;
        self.window = (self.window + 1.0 / self.window).min(self.limits.window.max(1) as f64);
    }

    /// Records that the backend throttled, failed, or did not respond to a post that
    /// took `took`.
    ///
    /// The next post waits for `after` if the backend gave it. Otherwise it waits until
    /// the backoff has passed since the post began. A success in between does not
    /// shorten the wait.
    pub fn record_failure(&mut self, took: Duration, after: Option<Duration>, now: Instant) {
        let bound = self.failure_backoff.bound();
        self.latency = (self.latency * 7 + took) / 8;
        self.window = (self.window / 2.0).max(1.0);
        let backoff = match after {
            Some(after) => after.min(MAX_RETRY_AFTER),
            None => bound.saturating_sub(took).max(self.limits.min_backoff),
        };
        self.blocked_until = self.blocked_until.max(now + backoff + jitter(backoff));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConcurrencyLimits = ConcurrencyLimits {
        window: 8,
        min_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
    };
    const TOOK: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn backoff_doubles_up_to_a_limit() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            concurrency.record_failure(TOOK, None, Instant::now());
            let backoff = concurrency.backoff(Instant::now());
            assert!(
                backoff + TOOK >= last.min(LIMITS.max_backoff)
                    && backoff <= LIMITS.max_backoff.mul_f64(1.1)
            );
            last = backoff;
            tokio::time::advance(backoff).await;
            assert!(concurrency.allows(0, Instant::now()));
        }
        assert!(last + TOOK >= LIMITS.max_backoff);
        // A post that took longer than the backoff leaves only the minimum wait.
        concurrency.record_failure(Duration::from_secs(8), None, Instant::now());
        assert!(concurrency.backoff(Instant::now()) < LIMITS.min_backoff * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn honours_retry_after_up_to_a_limit() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        concurrency.record_failure(TOOK, Some(Duration::from_secs(30)), Instant::now());
        assert!(concurrency.backoff(Instant::now()) >= Duration::from_secs(30));
        concurrency.record_success(TOOK);
        assert!(!concurrency.allows(0, Instant::now()));
        concurrency.record_failure(TOOK, Some(Duration::from_secs(1 << 40)), Instant::now());
        assert!(concurrency.backoff(Instant::now()) <= MAX_RETRY_AFTER.mul_f64(1.1));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_one_request_at_growing_intervals_on_hold() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        for least in [3.5, 5.0, 5.0] {
            concurrency.record_hold(false, Instant::now());
            let backoff = concurrency.backoff(Instant::now());
            let least = Duration::from_secs_f64(least);
            assert!(
                (least..=least.mul_f64(1.1)).contains(&backoff),
                "{backoff:?}"
            );
            // A second request in flight does not lengthen the interval.
            concurrency.record_hold(false, Instant::now());
            assert_eq!(concurrency.backoff(Instant::now()), backoff);
            tokio::time::advance(backoff).await;
            assert!(concurrency.allows(0, Instant::now()));
            assert!(!concurrency.allows(1, Instant::now()));
        }
        concurrency.record_success(TOOK);
        assert!(concurrency.allows(1, Instant::now()));
        concurrency.record_hold(false, Instant::now());
        assert!(concurrency.backoff(Instant::now()) < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_refuses_everything_gets_two_requests_in_eight_seconds() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        for least in [9, 18, 36, 60, 60] {
            concurrency.record_hold(true, Instant::now());
            let backoff = concurrency.backoff(Instant::now());
            assert!(backoff >= Duration::from_secs(least), "{backoff:?}");
            tokio::time::advance(backoff).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_halves_on_failure_and_grows_on_success() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        for want in [4, 2, 1, 1] {
            concurrency.record_failure(TOOK, Some(Duration::ZERO), Instant::now());
            assert_eq!(concurrency.window(), want);
        }
        let mut posts = 0;
        while concurrency.window() < LIMITS.window {
            concurrency.record_success(TOOK);
            posts += 1;
        }
        assert!((10..60).contains(&posts), "{posts}");
        assert!(concurrency.allows(7, Instant::now()) && !concurrency.allows(8, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn min_post_time_follows_the_latency() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        assert_eq!(concurrency.min_post_time(), MIN_POST_TIME);
        for _ in 0..50 {
            concurrency.record_success(Duration::from_millis(400));
        }
        assert!(concurrency.min_post_time() > Duration::from_millis(350));
        for _ in 0..50 {
            concurrency.record_failure(Duration::from_secs(20), None, Instant::now());
        }
        assert_eq!(concurrency.min_post_time(), MAX_POST_TIME);
    }
}
