//! Who is killed next, and for how long: as a seed has it.
//!
//! The first receiver and the first exporter are spared: their memory shows what a
//! process does that lives as long as the run.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// A process that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The receiver with this number.
    Receiver(usize),
    /// The exporter with this number.
    Exporter(usize),
}

/// One kill that was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// Who.
    pub(super) victim: Victim,
    /// When, in milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
    /// When it ran again.
    pub(super) until_ms: i64,
}

/// The kills to come.
#[derive(Debug)]
pub(super) struct Kills {
    random: SmallRng,
    victims: Vec<Victim>,
}

const DOWN_MS: std::ops::Range<u64> = 1000..5000;

// === impl Kills ===

impl Kills {
    /// The kills that follow from a seed.
    pub(super) fn new(seed: u64, receivers: usize, exporters: usize) -> Self {
        let of_receivers = (1..receivers).map(Victim::Receiver);
        Self {
            random: SmallRng::seed_from_u64(seed),
            victims: of_receivers
                .chain((1..exporters).map(Victim::Exporter))
                .collect(),
        }
    }

    /// The next victim, and how long it stays away; `None` where all are spared.
    pub(super) fn next(&mut self) -> Option<(Victim, Duration)> {
        if self.victims.is_empty() {
            return None;
        }
        let victim = self.victims[self.random.random_range(0..self.victims.len())];
        let down = Duration::from_millis(self.random.random_range(DOWN_MS));
        Some((victim, down))
    }
}

// === impl Victim ===

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver(i) => write!(f, "receiver-{i}"),
            Self::Exporter(i) => write!(f, "exporter-{i}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_kills_and_spares_the_first() {
        let kills = |seed| {
            let mut kills = Kills::new(seed, 3, 3);
            (0..50).filter_map(|_| kills.next()).collect::<Vec<_>>()
        };
        assert_eq!(kills(7), kills(7));
        assert_ne!(kills(7), kills(8));
        let spared = [Victim::Receiver(0), Victim::Exporter(0)];
        assert!(kills(7).iter().all(|(victim, _)| !spared.contains(victim)));
        assert_eq!(Kills::new(7, 1, 1).next(), None);
    }
}
