//! How long to wait before the next attempt, of a request or a connection.

use std::time::Duration;

use crate::random;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Exponential back-off with full jitter, so that lanes which failed together do
/// not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    ceiling: Duration,
    first: Duration,
    longest: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// For a request or a connection of the mesh: 100 ms to 5 s.
    pub fn new() -> Self {
        Self::within(FIRST, LONGEST)
    }

    /// Delays of up to `first`, doubled up to `longest`.
    pub fn within(first: Duration, longest: Duration) -> Self {
        Self {
            ceiling: first,
            first,
            longest,
        }
    }

    /// The next delay: between half of the ceiling and all of it.
    pub fn delay(&mut self) -> Duration {
        let delay = self.ceiling.mul_f64(random::range(0.5..1.0));
        self.ceiling = (self.ceiling * 2).min(self.longest);
        delay
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        let delays: Vec<_> = (0..20).map(|_| backoff.delay()).collect();
        assert!(delays[0] <= FIRST && delays[0] >= FIRST / 2);
        assert!(delays.iter().all(|d| *d <= LONGEST));
        assert!(delays[19] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.delay() <= FIRST);
    }
}
