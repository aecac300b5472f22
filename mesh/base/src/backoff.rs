//! Delays between the attempts of a request or a connection.

use std::time::Duration;

use crate::random;

const MIN: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(5);

/// Exponential backoff with jitter.
///
/// The jitter keeps clients that failed together from retrying together.
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

    /// Returns a backoff whose first delay is at most `min`. The bound doubles with each
    /// delay, up to `max`.
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
        let delay = self.ceiling.mul_f64(random::range(0.5..1.0));
        self.ceiling = (self.ceiling * 2).min(self.max);
        delay
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
}
