//! Random numbers for jitter and load balancing. Not suitable for secrets.
//!
//! Each thread has its own generator. A simulation runs a whole mesh on one thread and
//! seeds that thread's generator, which makes the run repeatable.

use std::{cell::RefCell, ops::Range};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::index};

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

/// Returns two different random indices below `n`. Returns `(0, 0)` if `n` is 1, and
/// `None` if `n` is 0.
pub fn two_indices(n: usize) -> Option<(usize, usize)> {
    match n {
        0 => None,
        1 => Some((0, 0)),
        _ => GENERATOR.with_borrow_mut(|generator| {
            let picked = index::sample(generator, n, 2);
            Some((picked.index(0), picked.index(1)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_the_numbers_of_a_seed() {
        let numbers = |value| {
            seed(value);
            [range(0.0..1.0), range(0.0..1.0)]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn picks_two_different_indices() {
        assert_eq!((two_indices(0), two_indices(1)), (None, Some((0, 0))));
        for _ in 0..100 {
            let (one, other) = two_indices(3).unwrap();
            assert!(one != other && one < 3 && other < 3);
        }
    }
}
