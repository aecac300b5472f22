//! Schedule of kills and faults in a run. It follows from the seed.
//!
//! Regularly, a process is killed and restarted some seconds later. Before two of three
//! kills the backend becomes unavailable or slow, so that the killed process has a backlog.
//! The first receiver and the first exporter are never killed: their memory shows whether
//! long-running processes leak.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use stand_ins::amp::Fault;

/// A process that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// Receiver with this number.
    Receiver(usize),
    /// Exporter with this number.
    Exporter(usize),
}

/// A fault of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackendFault {
    /// The backend answers 503. Batches wait in the receivers.
    Unavailable,
    /// The backend takes this long for each request. Requests are in flight in the
    /// exporters.
    Slow(Duration),
}

/// A scheduled event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Start of a fault of the backend.
    StartFault(BackendFault),
    /// Kill of a process.
    Kill(Victim),
    /// Restart of a killed process.
    Restart(Victim),
    /// End of the fault of the backend.
    EndFault,
}

/// A kill that was done. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    /// Killed process.
    pub(super) victim: Victim,
    /// Fault of the backend at that time.
    pub(super) fault: Option<BackendFault>,
    /// Time of the kill.
    pub(super) at_ms: i64,
    /// Time of the restart.
    pub(super) restarted_ms: i64,
    /// Time at which the process had restarted and the backend was healthy.
    pub(super) recovered_ms: i64,
    /// Pending samples of all receivers.
    pub(super) waiting: u64,
    /// Pending samples of a killed receiver, or memory of a killed exporter's exports in
    /// flight, in bytes.
    pub(super) pending: u64,
    /// Number of the receiver's pending samples that were on its disk.
    pub(super) on_disk: u64,
}

/// Parameters of the schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct KillSchedule {
    /// Seed of all random choices.
    pub(super) seed: u64,
    /// Mean time between two kills; zero for none.
    pub(super) every: Duration,
    /// End of the run. All killed processes have restarted by then.
    pub(super) until: Duration,
    /// Number of receivers.
    pub(super) receivers: usize,
    /// Number of exporters.
    pub(super) exporters: usize,
}

/// Maximum times. Short runs scale them down.
const FAULT_BEFORE_KILL: Duration = Duration::from_secs(8);
const FAULT_AFTER_RESTART: Duration = Duration::from_secs(3);
const DOWNTIME: Duration = Duration::from_secs(5);
/// Time that a restarted receiver needs to become the owner of its targets.
const STARTUP_TIME: Duration = Duration::from_secs(1);
/// Delay of a slow backend in milliseconds, below the timeout of the exporters.
const SLOW_MS: std::ops::Range<u64> = 1000..6000;

// === impl KillSchedule ===

impl KillSchedule {
    /// All events in order, with the time since the start.
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
            let one = self.kill(victim, self.every * n, &mut random);
            if one.last().is_none_or(|(at, _)| *at >= self.until) {
                return events;
            }
            events.extend(one);
        }
        events
    }

    /// A kill with its restart and fault. The next one begins later.
    fn kill(&self, victim: Victim, due: Duration, random: &mut SmallRng) -> Vec<(Duration, Event)> {
        let part = |divisor: u32, most: Duration| most.min(self.every / divisor);
        let mut some = |most: Duration, least: f64| most.mul_f64(random.random_range(least..1.0));
        let at = due + some(self.every / 4, 0.0);
        let back = at + some(part(4, DOWNTIME), 0.2);
        let fault_start = at - some(part(4, FAULT_BEFORE_KILL), 0.4);
        let fault_end = back + some(part(10, FAULT_AFTER_RESTART), 0.0);
        let fault = match random.random_range(0..3) {
            0 => None,
            1 => Some(BackendFault::Unavailable),
            _ => Some(BackendFault::Slow(Duration::from_millis(
                random.random_range(SLOW_MS),
            ))),
        };
        let kill = [(at, Event::Kill(victim)), (back, Event::Restart(victim))];
        match fault {
            None => kill.to_vec(),
            Some(fault) => {
                let mut all = vec![(fault_start, Event::StartFault(fault))];
                all.extend(kill);
                all.push((fault_end, Event::EndFault));
                all
            }
        }
    }

    /// Share of all slots that killed receivers miss.
    pub(super) fn missed_share(&self) -> f64 {
        let events = self.events();
        let away = events.windows(2).filter_map(|two| match two {
            [(at, Event::Kill(Victim::Receiver(_))), (back, _)] => Some(*back - *at + STARTUP_TIME),
            _ => None,
        });
        let away: Duration = away.sum();
        away.div_duration_f64(self.until) / self.receivers as f64
    }
}

// === impl Kill ===

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (victim, pending) = (self.victim, self.pending);
        match victim {
            Victim::Receiver(_) => {
                write!(
                    f,
                    "{victim} with {pending} samples pending, {} of them on disk",
                    self.on_disk
                )?;
            }
            Victim::Exporter(_) => write!(f, "{victim} with exports of {pending} bytes in flight")?,
        }
        write!(f, ", {} samples pending in all receivers", self.waiting)?;
        match self.fault {
            Some(fault) => write!(f, "; {fault}"),
            None => Ok(()),
        }
    }
}

// === impl BackendFault ===

impl BackendFault {
    /// Fault of the stand-in.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Unavailable => Fault::status(503, "unavailable"),
            Self::Slow(delay) => Fault::Slow(delay),
        }
    }
}

impl fmt::Display for BackendFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("backend unavailable"),
            Self::Slow(delay) => write!(f, "backend takes {delay:?}"),
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

    fn schedule(seed: u64, every_s: u64) -> KillSchedule {
        KillSchedule {
            seed,
            every: Duration::from_secs(every_s),
            until: Duration::from_secs(1800),
            receivers: 3,
            exporters: 3,
        }
    }

    #[test]
    fn a_seed_repeats_its_kills_and_never_kills_the_first() {
        let events = schedule(7, 10).events();
        assert_eq!(events, schedule(7, 10).events());
        assert_ne!(events, schedule(8, 10).events());
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
    fn kills_do_not_overlap() {
        for every_s in [10, 60] {
            let events = schedule(1, every_s).events();
            assert!(events.is_sorted_by_key(|(at, _)| *at));
            for two in events.windows(2) {
                let is_next = match two[0].1 {
                    Event::StartFault(_) => matches!(two[1].1, Event::Kill(_)),
                    Event::Kill(victim) => two[1].1 == Event::Restart(victim),
                    Event::Restart(_) => !matches!(two[1].1, Event::Restart(_)),
                    Event::EndFault => matches!(two[1].1, Event::StartFault(_) | Event::Kill(_)),
                };
                assert!(is_next, "{two:?}");
            }
        }
    }

    #[test]
    fn kills_nothing_if_only_the_first_processes_run() {
        let alone = KillSchedule {
            receivers: 1,
            exporters: 1,
            ..schedule(1, 10)
        };
        assert_eq!((alone.events(), alone.missed_share()), (Vec::new(), 0.0));
        assert_eq!(schedule(1, 0).events(), []);
        let missed = schedule(1, 60).missed_share();
        assert!(missed > 0.002 && missed < 0.03, "{missed}");
    }
}
