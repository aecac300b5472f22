//! Random numbers that spread load: jitter and the choice of a peer. Never for
//! secrets.
//!
//! Each thread has a generator of its own. A simulation, which runs a whole mesh
//! in one thread, seeds it, and can so be repeated.

use std::{cell::RefCell, ops::Range};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::index};

thread_local! {
    static GENERATOR: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// Lets this thread's numbers follow from `seed`.
pub fn seed(seed: u64) {
    GENERATOR.set(SmallRng::seed_from_u64(seed));
}

/// A number of `range`.
pub fn range(range: Range<f64>) -> f64 {
    GENERATOR.with_borrow_mut(|generator| generator.random_range(range))
}

/// Two different numbers below `n`, or one twice where there is no other; `None`
/// where there is none at all.
pub fn two_below(n: usize) -> Option<(usize, usize)> {
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
    fn a_seed_repeats_the_numbers() {
        let numbers = |of| {
            seed(of);
            [range(0.0..1.0), range(0.0..1.0)]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn two_are_different_where_there_are_two() {
        assert_eq!((two_below(0), two_below(1)), (None, Some((0, 0))));
        for _ in 0..100 {
            let (one, other) = two_below(3).unwrap();
            assert!(one != other && one < 3 && other < 3);
        }
    }
}
