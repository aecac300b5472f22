//! Random numbers for jitter and load balancing. Not suitable for secrets.
//!
//! Each thread has its own generator. A simulation runs a whole mesh on one thread and
//! seeds that thread's generator, which makes the run repeatable.

use std::{cell::RefCell, ops::Range};

use rand::{Rng, SeedableRng, rngs::SmallRng};

thread_local! {
    static GENERATOR: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// Seeds the generator of this thread.
pub fn seed(seed: u64) {
    GENERATOR.set(SmallRng::seed_from_u64(seed));
}

/// Returns a uniformly distributed number from `range`.
pub fn range(range: Range<f64>) -> f64 {
    GENERATOR.with_borrow_mut(|generator| generator.random_range(range))
}

/// Returns a uniformly distributed 64-bit number.
pub fn bits() -> u64 {
    GENERATOR.with_borrow_mut(|generator| generator.random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_the_numbers_of_a_seed() {
        let numbers = |value| {
            seed(value);
            (range(0.0..1.0), bits())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }
}
