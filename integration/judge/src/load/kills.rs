//! What goes wrong in a run, and when: as a seed has it.
//!
//! Every so often a process is killed and comes back some seconds later. Before two of
//! three kills the backend falls sick, so that they meet a backlog; the others meet
//! what happens to be under way. The first receiver and the first exporter are spared:
//! their memory shows what a process does that lives as long as the run.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use stand_ins::amp::Fault;

/// A process that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The receiver with this number.
    Receiver(usize),
    /// The exporter with this number.
    Exporter(usize),
}

/// What ails the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sickness {
    /// It answers 503: batches wait in the receivers.
    Fails,
    /// It takes this long for every request: batches are under way in the exporters.
    IsSlow(Duration),
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The backend falls sick.
    Sicken(Sickness),
    /// A process is killed.
    Kill(Victim),
    /// It comes back.
    Return(Victim),
    /// The backend is well again.
    Heal,
}

/// One kill that was done. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// Who.
    pub(super) victim: Victim,
    /// What ailed the backend then.
    pub(super) sickness: Option<Sickness>,
    /// When.
    pub(super) at_ms: i64,
    /// When it ran again.
    pub(super) back_ms: i64,
    /// When the backend was well, too.
    pub(super) well_ms: i64,
    /// Samples that waited in all receivers.
    pub(super) waiting: u64,
    /// Samples that waited in the receiver, or bytes of room that the Exports took which
    /// the exporter had under way.
    pub(super) had: u64,
    /// How many of the receiver's samples were on its disk.
    pub(super) on_disk: u64,
}

/// How kills follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// Who is killed when follows from it.
    pub(super) seed: u64,
    /// Time between two kills on average; zero for none.
    pub(super) every: Duration,
    /// None is killed that would not be back by then.
    pub(super) until: Duration,
    /// How many receivers there are.
    pub(super) receivers: usize,
    /// How many exporters there are.
    pub(super) exporters: usize,
}

/// Longest times, for kills that have room for them.
const SICK_BEFORE: Duration = Duration::from_secs(8);
const SICK_AFTER: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_secs(5);
/// A receiver that comes back needs to find its targets its own.
const STARTING: Duration = Duration::from_secs(1);
/// A slow backend takes no longer than exporters are given.
const SLOWNESS_MS: std::ops::Range<u64> = 1000..6000;

// === impl Rhythm ===

impl Rhythm {
    /// All that happens, in its order, with the time since the start.
    pub(super) fn events(&self) -> Vec<(Duration, Event)> {
        let mut random = SmallRng::seed_from_u64(self.seed);
        let victims: Vec<_> = (1..self.receivers)
            .map(Victim::Receiver)
            .chain((1..self.exporters).map(Victim::Exporter))
            .collect();
        let mut events = Vec::new();
        if victims.is_empty() || self.every.is_zero() {
            return events;
        }
        for n in 1.. {
            let victim = victims[random.random_range(0..victims.len())];
            let one = self.one(victim, self.every * n, &mut random);
            if one.last().is_none_or(|(at, _)| *at >= self.until) {
                return events;
            }
            events.extend(one);
        }
        events
    }

    /// A kill and what belongs to it. Its phase is any; the next one begins after it.
    fn one(&self, victim: Victim, due: Duration, random: &mut SmallRng) -> Vec<(Duration, Event)> {
        let part = |divisor: u32, most: Duration| most.min(self.every / divisor);
        let mut some = |most: Duration, least: f64| most.mul_f64(random.random_range(least..1.0));
        let at = due + some(self.every / 4, 0.0);
        let back = at + some(part(4, AWAY), 0.2);
        let sick = at - some(part(4, SICK_BEFORE), 0.4);
        let well = back + some(part(10, SICK_AFTER), 0.0);
        let sickness = match random.random_range(0..3) {
            0 => None,
            1 => Some(Sickness::Fails),
            _ => Some(Sickness::IsSlow(Duration::from_millis(
                random.random_range(SLOWNESS_MS),
            ))),
        };
        let kill = [(at, Event::Kill(victim)), (back, Event::Return(victim))];
        match sickness {
            None => kill.to_vec(),
            Some(sickness) => {
                let mut all = vec![(sick, Event::Sicken(sickness))];
                all.extend(kill);
                all.push((well, Event::Heal));
                all
            }
        }
    }

    /// The share of all slots that are missed as receivers are away.
    pub(super) fn missed(&self) -> f64 {
        let events = self.events();
        let away = events.windows(2).filter_map(|two| match two {
            [(at, Event::Kill(Victim::Receiver(_))), (back, _)] => Some(*back - *at + STARTING),
            _ => None,
        });
        let away: Duration = away.sum();
        away.div_duration_f64(self.until) / self.receivers as f64
    }
}

// === impl Kill ===

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (victim, had) = (self.victim, self.had);
        match victim {
            Victim::Receiver(_) => {
                write!(
                    f,
                    "{victim} with {had} samples, {} on its disk",
                    self.on_disk
                )?;
            }
            Victim::Exporter(_) => write!(f, "{victim} with Exports under way of {had} bytes")?,
        }
        write!(f, ", {} samples in all receivers", self.waiting)?;
        match self.sickness {
            Some(sickness) => write!(f, "; {sickness}"),
            None => Ok(()),
        }
    }
}

// === impl Sickness ===

impl Sickness {
    /// As the stand-in is told.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Fails => Fault::status(503, "told to fail"),
            Self::IsSlow(delay) => Fault::Slow(delay),
        }
    }
}

impl fmt::Display for Sickness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails => f.write_str("backend fails"),
            Self::IsSlow(delay) => write!(f, "backend takes {delay:?}"),
        }
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

    fn rhythm(seed: u64, every_s: u64) -> Rhythm {
        Rhythm {
            seed,
            every: Duration::from_secs(every_s),
            until: Duration::from_secs(1800),
            receivers: 3,
            exporters: 3,
        }
    }

    #[test]
    fn a_seed_repeats_its_kills_and_spares_the_first() {
        let events = rhythm(7, 10).events();
        assert_eq!(events, rhythm(7, 10).events());
        assert_ne!(events, rhythm(8, 10).events());
        let killed: Vec<_> = events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Kill(victim) => Some(*victim),
                _ => None,
            })
            .collect();
        assert!(killed.len() > 150, "{}", killed.len());
        for (victim, is_killed) in [
            (Victim::Receiver(0), false),
            (Victim::Receiver(1), true),
            (Victim::Exporter(0), false),
            (Victim::Exporter(2), true),
        ] {
            assert_eq!(killed.contains(&victim), is_killed, "{victim}");
        }
    }

    #[test]
    fn kills_follow_each_other() {
        for every_s in [10, 60] {
            let events = rhythm(1, every_s).events();
            assert!(events.is_sorted_by_key(|(at, _)| *at));
            for two in events.windows(2) {
                let is_next = match two[0].1 {
                    Event::Sicken(_) => matches!(two[1].1, Event::Kill(_)),
                    Event::Kill(victim) => two[1].1 == Event::Return(victim),
                    Event::Return(_) => !matches!(two[1].1, Event::Return(_)),
                    Event::Heal => matches!(two[1].1, Event::Sicken(_) | Event::Kill(_)),
                };
                assert!(is_next, "{two:?}");
            }
        }
    }

    #[test]
    fn nobody_is_killed_where_all_are_spared() {
        let alone = Rhythm {
            receivers: 1,
            exporters: 1,
            ..rhythm(1, 10)
        };
        assert_eq!((alone.events(), alone.missed()), (Vec::new(), 0.0));
        assert_eq!(rhythm(1, 0).events(), []);
        let missed = rhythm(1, 60).missed();
        assert!(missed > 0.002 && missed < 0.03, "{missed}");
    }
}
