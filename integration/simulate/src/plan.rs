//! The plan of a simulation: the shape of the mesh, and its faults. A seed determines all of it.
//!
//! ```text
//! plan ─▶ day, partition ─▶ disturbance ─▶ change ─▶ shape
//! ```

mod change;
mod day;
mod disturbance;
mod partition;
mod shape;

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use stand_ins::amp::Fault;

use self::disturbance::{LATEST_MS, MAX_SLOW_MS, WARM_UP_MS};
pub(super) use self::{
    change::{Action, Change},
    disturbance::{Disturbance, Kind},
    shape::{Shape, group},
};

/// Plan of one simulation.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    pub(super) disturbances: Vec<Disturbance>,
    /// Names of pods that do not run at the start, and that changes start later.
    pub(super) spares: BTreeSet<String>,
}

/// Time from the end of a receiver's fault until its group has settled. It is ready after at
/// most 2 s, and the last peer learns that at most 2 s later. A new owner then waits for 3 s.
const SETTLE_MS: u64 = 8_000;
/// Backend latency beyond which exporters give up. They respond before their deadline of 8 s.
const SLOW: Duration = Duration::from_secs(7);
/// Separate random sequences, so that a new kind of disturbance leaves the others of a seed
/// unchanged.
const CHANGES: u64 = 0xc4a_96e5;
const PARTITIONS: u64 = 0xc07;
const HEARTBEATS: u64 = 0xbea7;
const SPILL: u64 = 0x5b111;
const SECOND_DESTINATION: u64 = 0x2de5;

// === impl Plan ===

impl Plan {
    /// Draws the plan of a seed.
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = Shape::draw(&mut rng);
        let disturbances = (0..rng.random_range(1..=5))
            .map(|_| Disturbance::draw(&shape, &mut rng))
            .collect();
        let mut plan = Self {
            seed,
            shape,
            disturbances,
            spares: BTreeSet::new(),
        };
        let sequence = |of: u64| StdRng::seed_from_u64(seed ^ of);
        plan.shape.draw_heartbeats(&mut sequence(HEARTBEATS));
        plan.shape.draw_spill(&mut sequence(SPILL));
        plan.add_changes(&mut sequence(CHANGES));
        let partitions = partition::draw_all(&plan.receivers(), &mut sequence(PARTITIONS));
        plan.disturbances.extend(partitions);
        plan.add_second_destination(&mut sequence(SECOND_DESTINATION));
        plan
    }

    /// Draws the plan of a day of an HA pair with heartbeats.
    pub(super) fn draw_day(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = day::shape(&mut rng);
        Self {
            seed,
            disturbances: day::faults(&shape, &mut rng),
            shape,
            spares: BTreeSet::new(),
        }
    }

    fn add_second_destination(&mut self, rng: &mut StdRng) {
        self.shape.draw_second_destination(rng);
        if self.shape.second_destination {
            let faults = (0..rng.random_range(1..=3)).map(|_| Disturbance::draw_of_second(rng));
            self.disturbances.extend(faults.collect::<Vec<_>>());
        }
    }

    fn add_changes(&mut self, rng: &mut StdRng) {
        for change in Change::draw_all(&self.shape, rng) {
            self.spares.extend(change.started().cloned());
            self.disturbances.push(Disturbance {
                at_ms: rng.random_range(WARM_UP_MS..LATEST_MS),
                for_ms: change.duration_ms(),
                kind: Kind::Change(change),
            });
        }
        for name in [self.shape.all_receivers(), self.shape.exporters()].concat() {
            self.spares.remove(&name);
        }
    }

    /// Returns the names of all receivers, with the spares last.
    pub(super) fn receivers(&self) -> Vec<String> {
        self.with_spares(self.shape.all_receivers(), |name| group(name).is_some())
    }

    /// Returns the names of all exporters, with the spares last.
    pub(super) fn exporters(&self) -> Vec<String> {
        self.with_spares(self.shape.exporters(), |name| group(name).is_none())
    }

    fn with_spares(&self, mut names: Vec<String>, is_of: impl Fn(&str) -> bool) -> Vec<String> {
        let spares = self.spares.iter().filter(|name| is_of(name));
        names.extend(spares.cloned());
        names
    }

    /// Returns the end of the last disturbance, in milliseconds since the start.
    pub(super) fn end_ms(&self) -> u64 {
        let ends = self.disturbances.iter().map(|d| d.range_ms().1);
        ends.max().unwrap_or(WARM_UP_MS)
    }

    /// Returns the end of the last disturbance of a destination.
    pub(super) fn end_at_ms(&self, destination: &str) -> u64 {
        let ends = self.concerning(destination).map(|d| d.range_ms().1);
        ends.max().unwrap_or(WARM_UP_MS)
    }

    fn concerning(&self, destination: &str) -> impl Iterator<Item = &Disturbance> {
        let all = self.disturbances.iter();
        all.filter(move |disturbance| disturbance.concerns(destination))
    }

    /// Returns the ranges of the disturbances of a destination, except changes that leave a pod
    /// ready.
    pub(super) fn faults_ms(&self, destination: &str) -> Vec<(u64, u64)> {
        let pods = self.shape.receivers.min(self.shape.exporters);
        let faults = self.concerning(destination).filter(|d| match &d.kind {
            Kind::Change(change) => !change.leaves_one(pods),
            _ => true,
        });
        faults.map(Disturbance::range_ms).collect()
    }

    /// Returns the ranges in which a destination rejects samples.
    pub(super) fn rejecting_ms(&self, destination: &str) -> Vec<(u64, u64)> {
        self.backend_ms(destination, |fault| {
            matches!(
                fault,
                Fault::RejectMetric(_) | Fault::RejectMetricAndWholeRequests(_)
            )
        })
    }

    /// Returns the ranges in which a destination may store requests after their senders gave up.
    pub(super) fn slow_backend_ms(&self, destination: &str) -> Vec<(u64, u64)> {
        let slow = self.backend_ms(
            destination,
            |fault| matches!(fault, Fault::Slow(by) if *by > SLOW),
        );
        let slow = slow.into_iter();
        slow.map(|(from_ms, to_ms)| (from_ms, to_ms + MAX_SLOW_MS))
            .collect()
    }

    fn backend_ms(&self, destination: &str, is_it: impl Fn(&Fault) -> bool) -> Vec<(u64, u64)> {
        let with_it = self.concerning(destination).filter(|d| match &d.kind {
            Kind::Backend(fault) | Kind::SecondBackend(fault) => is_it(fault),
            Kind::BackendNext(faults) => faults.iter().any(&is_it),
            _ => false,
        });
        with_it.map(Disturbance::range_ms).collect()
    }

    /// Returns the ranges in which targets of a group may have no owner, or owners may have
    /// the wrong time. The orderly handover of a single receiver is not among them.
    pub(super) fn unsettled_ms(&self) -> Vec<(String, (u64, u64))> {
        let all: Vec<_> = self
            .disturbances
            .iter()
            .filter_map(|disturbance| self.unsettles(disturbance))
            .collect();
        let is_alone = |at: usize| {
            let (group, _, (from, to)) = &all[at];
            let mut others = all.iter().enumerate().filter(|(i, _)| *i != at);
            !others.any(|(_, (other, _, (other_from, other_to)))| {
                other == group && other_from <= to && from <= other_to
            })
        };
        let unsettled = all.iter().enumerate();
        let unsettled = unsettled.filter(|(at, (_, is_orderly, _))| !is_orderly || !is_alone(*at));
        unsettled
            .map(|(_, (group, _, range))| (group.clone(), *range))
            .collect()
    }

    /// Returns the group whose scrapes a disturbance unsettles, true if an orderly handover is
    /// the reason, and the range.
    fn unsettles(&self, d: &Disturbance) -> Option<(String, bool, (u64, u64))> {
        let receivers = self.shape.receivers;
        let (group, is_orderly) = match &d.kind {
            Kind::Kill(name) | Kind::Clock(name, _) => (group(name)?, false),
            Kind::Restart(name) => (group(name)?, receivers > 1),
            Kind::Change(change) => (change.group()?, change.leaves_one(receivers)),
            // A target that moves meanwhile has to wait for the receiver that cannot be reached.
            Kind::Partition(a, b)
            | Kind::PartitionOneWay(a, b)
            | Kind::Hold(a, b)
            | Kind::Slow(a, b, _) => (group(a).filter(|_| group(b).is_some())?, true),
            _ => return None,
        };
        let (from_ms, to_ms) = d.range_ms();
        Some((group.to_owned(), is_orderly, (from_ms, to_ms + SETTLE_MS)))
    }
}
