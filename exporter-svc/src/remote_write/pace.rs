//! How fast a destination is posted to.
//!
//! All senders of a process share one pace per destination. As long as all goes
//! well, as many requests are in flight as the configuration allows. Where the
//! backend throttles or fails, nothing is posted for a while (its `Retry-After`,
//! or a back-off that doubles), the window of requests in flight is halved, and
//! it grows again by one request a round trip, so that a backend that comes back
//! is not met by everything that waited for it.

use std::time::Duration;

use mesh::random;
use tokio::time::Instant;

/// The bounds of a pace.
#[derive(Clone, Copy, Debug)]
pub struct PaceLimits {
    /// Requests in flight at most.
    pub window: usize,
    /// First back-off.
    pub min_backoff: Duration,
    /// Longest back-off.
    pub max_backoff: Duration,
}

/// The pace of one destination.
#[derive(Debug)]
pub struct Pace {
    limits: PaceLimits,
    /// Requests in flight at most, for now.
    window: f64,
    /// Posts that failed since the last one that did not.
    failures: u32,
    /// Whole requests that were refused for good since something was stored.
    refusals: u32,
    /// Nothing is posted before.
    until: Instant,
    /// How long posts take of late.
    latency: Duration,
}

/// A backend may not silence a sender for longer than this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The first and the longest pause where whole requests are refused.
const REFUSED: Duration = Duration::from_secs(10);
const MAX_REFUSED: Duration = Duration::from_secs(60);
/// What a post is given at least, and what it is asked to have left at most.
const MIN_POST: Duration = Duration::from_millis(100);
const MAX_POST: Duration = Duration::from_secs(1);

// === impl Pace ===

impl Pace {
    /// Starts at full speed.
    pub fn new(limits: PaceLimits) -> Self {
        Self {
            limits,
            window: limits.window.max(1) as f64,
            failures: 0,
            refusals: 0,
            until: Instant::now(),
            latency: Duration::ZERO,
        }
    }

    /// Whether one more request may go, with `in_flight` under way.
    pub fn allows(&self, in_flight: usize, now: Instant) -> bool {
        now >= self.until && in_flight < self.window as usize
    }

    /// How long nothing is posted.
    pub fn hold(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// How much time a post has to have left to be started (law 3): what posts
    /// took of late. Where that is longer than a second it is started all the
    /// same, so that a sender whose deadline passes learns to give more time.
    pub fn needed(&self) -> Duration {
        self.latency.clamp(MIN_POST, MAX_POST)
    }

    /// The requests that may be in flight now.
    pub fn window(&self) -> usize {
        self.window as usize
    }

    /// The backend answered a post as it should.
    pub fn succeeded(&mut self, took: Duration) {
        self.refusals = 0;
        self.answered(took);
    }

    /// The backend refused a whole request, and for no reason that lies in its
    /// samples. One may be an accident. Where nothing is stored between two of
    /// them, the address, the credentials or the tenant are probably wrong, and as
    /// every post loses samples for good until that is mended, there are few.
    pub fn refused(&mut self, took: Duration, now: Instant) {
        self.answered(took);
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > 1 {
            let doubled = REFUSED.saturating_mul(1 << (self.refusals - 2).min(20));
            let hold = doubled.min(MAX_REFUSED);
            self.until = self.until.max(now + hold + jitter(hold));
        }
    }

    fn answered(&mut self, took: Duration) {
        self.failures = 0;
        self.latency = (self.latency * 7 + took) / 8;
        self.window = (self.window + 1.0 / self.window).min(self.limits.window.max(1) as f64);
    }

    /// The backend throttled, failed or did not answer a post that took this
    /// long. The next may go once `after` has passed, or where the backend did not
    /// say once the back-off has since the post began; a success in between does not
    /// shorten that.
    pub fn failed(&mut self, took: Duration, after: Option<Duration>, now: Instant) {
        let doubled = self
            .limits
            .min_backoff
            .saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        self.latency = (self.latency * 7 + took) / 8;
        self.window = (self.window / 2.0).max(1.0);
        let hold = match after {
            Some(after) => after.min(MAX_RETRY_AFTER),
            None => {
                let rest = doubled.min(self.limits.max_backoff).saturating_sub(took);
                rest.max(self.limits.min_backoff)
            }
        };
        self.until = self.until.max(now + hold + jitter(hold));
    }
}

/// Up to a tenth more, so that many exporters do not come back at once.
pub fn jitter(hold: Duration) -> Duration {
    hold.mul_f64(random::range(0.0..0.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits = PaceLimits {
        window: 8,
        min_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
    };
    const TOOK: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn backs_off_further_and_further_up_to_a_limit() {
        let mut pace = Pace::new(LIMITS);
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            pace.failed(TOOK, None, Instant::now());
            let hold = pace.hold(Instant::now());
            assert!(
                hold + TOOK >= last.min(LIMITS.max_backoff)
                    && hold <= LIMITS.max_backoff.mul_f64(1.1)
            );
            last = hold;
            tokio::time::advance(hold).await;
            assert!(pace.allows(0, Instant::now()));
        }
        assert!(last + TOOK >= LIMITS.max_backoff);
        // A post that took longer than the back-off has waited already.
        pace.failed(Duration::from_secs(8), None, Instant::now());
        assert!(pace.hold(Instant::now()) < LIMITS.min_backoff * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_within_reason() {
        let mut pace = Pace::new(LIMITS);
        pace.failed(TOOK, Some(Duration::from_secs(30)), Instant::now());
        assert!(pace.hold(Instant::now()) >= Duration::from_secs(30));
        pace.succeeded(TOOK);
        assert!(!pace.allows(0, Instant::now()));
        pace.failed(TOOK, Some(Duration::from_secs(1 << 40)), Instant::now());
        assert!(pace.hold(Instant::now()) <= MAX_RETRY_AFTER.mul_f64(1.1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_refuses_everything_is_asked_rarely() {
        let mut pace = Pace::new(LIMITS);
        let refuse = |pace: &mut Pace| {
            pace.refused(TOOK, Instant::now());
            pace.hold(Instant::now()).as_secs()
        };
        assert_eq!(refuse(&mut pace), 0);
        pace.succeeded(TOOK);
        assert_eq!(refuse(&mut pace), 0);
        for least in [10, 20, 40, 60, 60] {
            let hold = refuse(&mut pace);
            assert!((least..=least + least / 10).contains(&hold), "{hold}");
        }
        tokio::time::advance(Duration::from_secs(70)).await;
        pace.succeeded(TOOK);
        assert_eq!(refuse(&mut pace), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_halves_and_grows_again() {
        let mut pace = Pace::new(LIMITS);
        for want in [4, 2, 1, 1] {
            pace.failed(TOOK, Some(Duration::ZERO), Instant::now());
            assert_eq!(pace.window(), want);
        }
        let mut posts = 0;
        while pace.window() < LIMITS.window {
            pace.succeeded(TOOK);
            posts += 1;
        }
        assert!((10..60).contains(&posts), "{posts}");
        assert!(pace.allows(7, Instant::now()) && !pace.allows(8, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_needs_what_posts_took_of_late() {
        let mut pace = Pace::new(LIMITS);
        assert_eq!(pace.needed(), MIN_POST);
        for _ in 0..50 {
            pace.succeeded(Duration::from_millis(400));
        }
        assert!(pace.needed() > Duration::from_millis(350));
        for _ in 0..50 {
            pace.failed(Duration::from_secs(20), None, Instant::now());
        }
        assert_eq!(pace.needed(), MAX_POST);
    }
}
