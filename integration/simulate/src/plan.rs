//! What one simulation is made of, all of it following from its seed: the shape
//! of the mesh, and what goes wrong when.

mod change;
mod cut;

use std::{collections::BTreeSet, ops::Range, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

pub(super) use self::change::{Act, Change};
use super::{backend, targets::VALUE};
use stand_ins::amp::Fault;

/// One simulation.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    pub(super) disturbances: Vec<Disturbance>,
    /// The names of pods that do not run when it begins.
    pub(super) spares: BTreeSet<String>,
}

/// The shape of a mesh.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Replica groups: one, or the two of an HA pair.
    pub(super) groups: usize,
    /// Receivers of each group.
    pub(super) receivers: usize,
    pub(super) exporters: usize,
    pub(super) targets: usize,
    pub(super) interval: Duration,
    pub(super) lanes: u16,
    /// Longest time that a segment is on its way while all is well.
    pub(super) latency: Duration,
    /// Hosts run for this long in turn.
    pub(super) tick: Duration,
    /// Whether the pair has its heartbeat.
    pub(super) heartbeats: bool,
    /// After how many seconds receivers spill what waits; never where it is none.
    pub(super) spill_after: Option<u64>,
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug)]
pub(super) struct Disturbance {
    pub(super) at_ms: u64,
    pub(super) for_ms: u64,
    pub(super) what: What,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// SIGKILL; the host starts again when it is over.
    Crash(String),
    /// SIGTERM, while the host leaves its service's endpoints, and SIGKILL where it
    /// still runs when it is over; then it starts again.
    Restart(String),
    /// Segments between the two are lost.
    Cut(String, String),
    /// Segments from the first to the second are lost.
    CutOneWay(String, String),
    /// Segments between the two wait, and arrive when it is over.
    Hold(String, String),
    /// Segments between the two take up to this many milliseconds.
    Slow(String, String, u64),
    /// The backend answers every request like this.
    Backend(Fault),
    /// The backend answers the next requests like this.
    BackendNext(Vec<Fault>),
    /// The receiver's clock is set by this many milliseconds, and set back when it
    /// is over.
    Clock(String, i64),
    /// Pods of a tier come and go as somebody wants it.
    Change(Change),
}

/// Hosts run for this long in turn.
const TICK: Duration = Duration::from_millis(10);
/// When the first thing may go wrong: the mesh has found itself by then.
const CALM_MS: u64 = 10_000;
/// When the last thing that goes wrong has begun.
const LAST_MS: u64 = 40_000;
/// How long it goes wrong.
const LENGTH_MS: Range<u64> = 200..20_000;
/// A receiver that is back is ready after 2 s at most, and the last of the others
/// hears of it up to 2 s later; then a new owner waits for 3 s.
const SETTLING_MS: u64 = 8_000;
/// NTP keeps clocks much closer than this.
const MAX_SKEW_MS: i64 = 400;
/// The longest time that a backend takes for a request.
const MAX_SLOW_MS: u64 = 12_000;
/// Longer than an exporter waits for it, which has to answer before its deadline of 8 s.
const LONG: Duration = Duration::from_secs(7);
/// Changes of tiers, cuts within a group, heartbeats and the spill are drawn apart from
/// what else is and goes wrong, which a seed keeps.
const CHANGES: u64 = 0xc4a_96e5;
const CUTS: u64 = 0xc07;
const HEARTBEATS: u64 = 0xbea7;
const SPILL: u64 = 0x5b111;

// === impl Plan ===

impl Plan {
    /// The simulation of this seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = Shape {
            groups: rng.random_range(1..=2),
            receivers: rng.random_range(1..=3),
            exporters: rng.random_range(1..=3),
            targets: rng.random_range(2..=6),
            interval: Duration::from_secs(*[1, 2, 5, 15].choose(&mut rng).unwrap_or(&1)),
            lanes: rng.random_range(1..=6),
            latency: Duration::from_millis(rng.random_range(2..=60)),
            tick: TICK,
            heartbeats: false,
            spill_after: None,
        };
        let disturbances = (0..rng.random_range(1..=5))
            .map(|_| Disturbance::draw(&shape, &mut rng))
            .collect();
        let mut plan = Self::new(seed, shape, disturbances);
        plan.shape
            .draw_heartbeats(&mut StdRng::seed_from_u64(seed ^ HEARTBEATS));
        plan.shape
            .draw_spill(&mut StdRng::seed_from_u64(seed ^ SPILL));
        plan.add_changes(&mut StdRng::seed_from_u64(seed ^ CHANGES));
        let cuts = cut::draw_all(&plan, &mut StdRng::seed_from_u64(seed ^ CUTS));
        plan.disturbances.extend(cuts);
        plan
    }

    /// A simulation of a shape, in which these things go wrong.
    pub(super) fn new(seed: u64, shape: Shape, disturbances: Vec<Disturbance>) -> Self {
        Self {
            seed,
            shape,
            disturbances,
            spares: BTreeSet::new(),
        }
    }

    fn add_changes(&mut self, rng: &mut StdRng) {
        for change in Change::draw_all(&self.shape, rng) {
            self.spares.extend(change.started().cloned());
            self.disturbances.push(Disturbance {
                at_ms: rng.random_range(CALM_MS..LAST_MS),
                for_ms: change.lasts_ms(),
                what: What::Change(change),
            });
        }
        for name in [self.shape.all_receivers(), self.shape.exporters()].concat() {
            self.spares.remove(&name);
        }
    }

    /// The names of all receivers, those that run when it begins first.
    pub(super) fn receivers(&self) -> Vec<String> {
        self.with_spares(self.shape.all_receivers(), |name| group(name).is_some())
    }

    /// The names of all exporters, those that run when it begins first.
    pub(super) fn exporters(&self) -> Vec<String> {
        self.with_spares(self.shape.exporters(), |name| group(name).is_none())
    }

    fn with_spares(&self, mut names: Vec<String>, is_of: impl Fn(&str) -> bool) -> Vec<String> {
        let spares = self.spares.iter().filter(|name| is_of(name));
        names.extend(spares.cloned());
        names
    }

    /// When everything that goes wrong is over.
    pub(super) fn over_ms(&self) -> u64 {
        let ends = self.disturbances.iter().map(|d| d.at_ms + d.for_ms);
        ends.max().unwrap_or(CALM_MS)
    }

    /// When something is wrong, but for changes in which a pod is always ready.
    pub(super) fn wrong_ms(&self) -> Vec<(u64, u64)> {
        let pods = self.shape.receivers.min(self.shape.exporters);
        let wrong = self.disturbances.iter().filter(|d| match &d.what {
            What::Change(change) => !change.leaves_one(pods),
            _ => true,
        });
        wrong.map(|d| (d.at_ms, d.at_ms + d.for_ms)).collect()
    }

    /// When the backend refuses samples for good.
    pub(super) fn refusing_ms(&self) -> Vec<(u64, u64)> {
        self.backend_ms(|fault| matches!(fault, Fault::RejectMetric(_)))
    }

    /// When the backend may have in hand what its senders have given up at their deadline.
    pub(super) fn slow_ms(&self) -> Vec<(u64, u64)> {
        let slow = self.backend_ms(|fault| matches!(fault, Fault::Slow(by) if *by > LONG));
        let slow = slow.into_iter();
        slow.map(|(from_ms, to_ms)| (from_ms, to_ms + MAX_SLOW_MS))
            .collect()
    }

    fn backend_ms(&self, is_it: impl Fn(&Fault) -> bool) -> Vec<(u64, u64)> {
        let with_it = self.disturbances.iter().filter(|d| match &d.what {
            What::Backend(fault) => is_it(fault),
            What::BackendNext(faults) => faults.iter().any(&is_it),
            _ => false,
        });
        with_it.map(|d| (d.at_ms, d.at_ms + d.for_ms)).collect()
    }

    /// When a group's targets may be without an owner, or owners without the right
    /// time: more is wrong than that one receiver hands over.
    pub(super) fn unsteady_ms(&self) -> Vec<(String, (u64, u64))> {
        let of_receivers: Vec<_> = self
            .disturbances
            .iter()
            .filter_map(|disturbance| self.unsettles(disturbance))
            .collect();
        let alone = |at: usize| {
            let (group, _, (from, to)) = &of_receivers[at];
            let others = of_receivers.iter().enumerate().filter(|(i, _)| *i != at);
            !others
                .into_iter()
                .any(|(_, (of, _, (other_from, other_to)))| {
                    of == group && other_from <= to && from <= other_to
                })
        };
        let unsteady = of_receivers.iter().enumerate();
        let unsteady = unsteady.filter(|(at, (_, in_order, _))| !in_order || !alone(*at));
        unsteady
            .map(|(_, (group, _, times))| (group.clone(), *times))
            .collect()
    }

    /// The group whose scrapes are unsettled, whether by a handover in order, and
    /// from when to when.
    fn unsettles(&self, d: &Disturbance) -> Option<(String, bool, (u64, u64))> {
        let receivers = self.shape.receivers;
        let (group, in_order) = match &d.what {
            What::Crash(name) | What::Clock(name, _) => (group(name)?, false),
            What::Restart(name) => (group(name)?, receivers > 1),
            What::Change(change) => (change.group()?, change.leaves_one(receivers)),
            // Whoever moves a target meanwhile has to wait for the other.
            What::Cut(a, b) | What::CutOneWay(a, b) | What::Hold(a, b) | What::Slow(a, b, _) => {
                (group(a).filter(|_| group(b).is_some())?, true)
            }
            _ => return None,
        };
        let times = (d.at_ms, d.at_ms + d.for_ms + SETTLING_MS);
        Some((group.to_owned(), in_order, times))
    }
}

// === impl Shape ===

impl Shape {
    /// Gives some pairs heartbeats, which tell only where scrapes are far between.
    fn draw_heartbeats(&mut self, rng: &mut StdRng) {
        if self.groups > 1 && rng.random_ratio(1, 3) {
            self.heartbeats = true;
            self.interval = Duration::from_secs(*[15, 60].choose(rng).unwrap_or(&60));
        }
    }

    /// Gives some receivers a directory for what waits.
    fn draw_spill(&mut self, rng: &mut StdRng) {
        if rng.random_ratio(1, 3) {
            self.spill_after = [0, 3].choose(rng).copied();
        }
    }

    /// The names of the replica groups.
    pub(super) fn groups(&self) -> &'static [&'static str] {
        &["a", "b"][..self.groups]
    }

    /// The names of a group's receivers.
    pub(super) fn receivers(&self, group: &str) -> Vec<String> {
        (0..self.receivers).map(|i| receiver(group, i)).collect()
    }

    /// The names of all receivers.
    pub(super) fn all_receivers(&self) -> Vec<String> {
        let groups = self.groups().iter();
        groups.flat_map(|group| self.receivers(group)).collect()
    }

    /// The names of the exporters.
    pub(super) fn exporters(&self) -> Vec<String> {
        (0..self.exporters).map(exporter).collect()
    }
}

// === impl Disturbance ===

impl Disturbance {
    fn draw(shape: &Shape, rng: &mut StdRng) -> Self {
        let at_ms = rng.random_range(CALM_MS..LAST_MS);
        let for_ms = rng.random_range(LENGTH_MS);
        let what = What::draw(shape, rng);
        Self {
            at_ms,
            for_ms,
            what,
        }
    }
}

// === impl What ===

impl What {
    fn draw(shape: &Shape, rng: &mut StdRng) -> Self {
        let one = |names: Vec<String>, rng: &mut StdRng| names.choose(rng).cloned();
        let receiver = one(shape.all_receivers(), rng).unwrap_or_default();
        let exporter = one(shape.exporters(), rng).unwrap_or_default();
        let backend = backend::HOST.to_owned();
        match rng.random_range(0..14) {
            0 | 1 => Self::Crash(exporter),
            2 => Self::Restart(exporter),
            3 => Self::Crash(receiver),
            4 => Self::Restart(receiver),
            5 => Self::Crash(backend),
            6 => Self::Cut(receiver, exporter),
            7 => Self::Cut(exporter, backend),
            8 if rng.random() => Self::CutOneWay(receiver, exporter),
            8 => Self::CutOneWay(exporter, receiver),
            9 => Self::Hold(receiver, exporter),
            10 => Self::Slow(receiver, exporter, rng.random_range(100..2_000)),
            11 => Self::Clock(receiver, rng.random_range(-MAX_SKEW_MS..=MAX_SKEW_MS)),
            12 => Self::Backend(fault(rng)),
            _ => {
                let n = rng.random_range(1..=12);
                Self::BackendNext((0..n).map(|_| fault(rng)).collect())
            }
        }
    }
}

fn receiver(group: &str, i: usize) -> String {
    format!("receiver-{group}-{i}")
}

fn exporter(i: usize) -> String {
    format!("exporter-{i}")
}

/// The group of a receiver of this name.
pub(super) fn group(name: &str) -> Option<&str> {
    name.strip_prefix("receiver-")?.split('-').next()
}

fn fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..8) {
        0 => Fault::throttle(rng.random_range(0..4)),
        1 => Fault::status(500, "internal error"),
        2 => Fault::status(503, "unavailable"),
        3 => Fault::status(403, "The security token included in the request is expired"),
        4 => Fault::StoreAndHang,
        5 => Fault::Hang,
        6 => Fault::Slow(Duration::from_millis(rng.random_range(100..MAX_SLOW_MS))),
        _ => Fault::RejectMetric(VALUE.to_owned()),
    }
}
