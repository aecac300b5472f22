//! Adaptive limit of the requests in flight to one destination.
//!
//! All senders of a process share one limit per destination. While requests succeed, as
//! many are in flight as the configuration allows. When the backend throttles or fails,
//! the exporter stops posting for its `Retry-After` or for an exponential backoff. It
//! also halves the window of requests in flight. The window then grows by one request
//! per round trip, so that a recovering backend does not receive all waiting requests
//! at once.

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
    /// Pause after rejections. It starts over with each stored sample.
    rejection_pause: Backoff,
    /// True if a request was rejected as a whole since the last stored sample.
    rejected: bool,
    /// End of the current backoff.
    blocked_until: Instant,
    /// Moving average of the time that posts take.
    latency: Duration,
}

/// Upper bound of a backend's `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Initial and maximum pause after rejections of whole requests.
const MIN_REJECTION_PAUSE: Duration = Duration::from_secs(10);
const MAX_REJECTION_PAUSE: Duration = Duration::from_secs(60);
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
            rejection_pause: Backoff::with_bounds(MIN_REJECTION_PAUSE, MAX_REJECTION_PAUSE),
            rejected: false,
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

    /// Records that the backend accepted a post.
    pub fn record_success(&mut self, took: Duration) {
        self.rejected = false;
        self.rejection_pause.reset();
        self.record_response(took);
    }

    /// Records that the backend rejected a whole request for a reason outside its samples.
    ///
    /// A single rejection may be an accident. Repeated ones without a stored sample in
    /// between mean that the address, the credentials or the tenant are probably wrong.
    /// Every post then loses samples permanently, so the posts become rare.
    pub fn record_rejection(&mut self, took: Duration, now: Instant) {
        self.record_response(took);
        if self.rejected {
            let pause = self.rejection_pause.bound();
            self.blocked_until = self.blocked_until.max(now + pause + jitter(pause));
        }
        self.rejected = true;
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
    async fn pauses_after_repeated_rejections() {
        let mut concurrency = AdaptiveConcurrency::new(LIMITS);
        let refuse = |concurrency: &mut AdaptiveConcurrency| {
            concurrency.record_rejection(TOOK, Instant::now());
            concurrency.backoff(Instant::now()).as_secs()
        };
        assert_eq!(refuse(&mut concurrency), 0);
        concurrency.record_success(TOOK);
        assert_eq!(refuse(&mut concurrency), 0);
        for least in [10, 20, 40, 60, 60] {
            let backoff = refuse(&mut concurrency);
            assert!((least..=least + least / 10).contains(&backoff), "{backoff}");
        }
        tokio::time::advance(Duration::from_secs(70)).await;
        concurrency.record_success(TOOK);
        assert_eq!(refuse(&mut concurrency), 0);
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
