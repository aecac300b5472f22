//! Delays between the attempts of a request or a connection.

use std::time::Duration;

use crate::random;

const MIN: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(5);

/// Exponential backoff with jitter.
///
/// The jitter keeps clients that failed together from retrying together. The bound doubles
/// with each delay, from the minimum to the maximum.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Upper bound of the next delay.
    ceiling: Duration,
    min: Duration,
    max: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Returns the backoff of requests and connections inside the mesh: 100 ms to 5 s.
    pub fn new() -> Self {
        Self::with_bounds(MIN, MAX)
    }

    /// Returns a backoff whose first bound is `min` and whose last is `max`.
    pub fn with_bounds(min: Duration, max: Duration) -> Self {
        Self {
            ceiling: min,
            min,
            max,
        }
    }

    /// Returns the next delay: a random time between half of the current bound and the
    /// whole bound.
    pub fn delay(&mut self) -> Duration {
        self.bound().mul_f64(random::range(0.5..1.0))
    }

    /// Returns the next delay without jitter: the current bound.
    pub fn bound(&mut self) -> Duration {
        let bound = self.ceiling;
        self.ceiling = bound.saturating_mul(2).min(self.max);
        bound
    }

    /// Starts over with the shortest delay. Call it after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a random time of up to a tenth of `delay`, to be added to a delay that must not
/// be shorter.
pub fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(random::range(0.0..0.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_the_delay_up_to_the_maximum() {
        let mut backoff = Backoff::new();
        let delays: Vec<_> = (0..20).map(|_| backoff.delay()).collect();
        assert!(delays[0] <= MIN && delays[0] >= MIN / 2);
        assert!(delays.iter().all(|d| *d <= MAX));
        assert!(delays[19] >= MAX / 2);
        backoff.reset();
        assert!(backoff.delay() <= MIN);
    }

    #[test]
    fn returns_the_bound_without_jitter() {
        let mut backoff = Backoff::with_bounds(Duration::from_secs(10), Duration::from_secs(60));
        let bounds = [(); 5].map(|()| backoff.bound().as_secs());
        assert_eq!(bounds, [10, 20, 40, 60, 60]);
    }
}
