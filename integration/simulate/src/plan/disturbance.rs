//! The faults and changes of a plan.

use std::{ops::Range, time::Duration};

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use stand_ins::amp::Fault;

use super::{change::Change, shape::Shape};
use crate::{backend, targets::VALUE};

/// A fault or a change, with its time.
#[derive(Clone, Debug)]
pub(crate) struct Disturbance {
    /// Start, in milliseconds since the simulation began.
    pub(crate) at_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) kind: Kind,
}

/// Kind of a disturbance.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// SIGKILL of a host. It starts again at the end.
    Kill(String),
    /// SIGTERM of a host, which leaves the endpoints of its service. At the end it gets SIGKILL
    /// if it still runs, and starts again.
    Restart(String),
    /// Drops segments between two hosts.
    Partition(String, String),
    /// Drops segments from the first host to the second.
    PartitionOneWay(String, String),
    /// Holds segments between two hosts back until the end.
    Hold(String, String),
    /// Delays segments between two hosts by up to this number of milliseconds.
    Slow(String, String, u64),
    /// The backend handles every request like this.
    Backend(Fault),
    /// The backend handles the next requests like this.
    BackendNext(Vec<Fault>),
    /// The second destination handles every request like this.
    SecondBackend(Fault),
    /// Changes the clock of a receiver by this number of milliseconds, until the end.
    Clock(String, i64),
    /// Rolling update or scaling of a tier.
    Change(Change),
}

/// Earliest start of a disturbance. The mesh has settled by then.
pub(super) const WARM_UP_MS: u64 = 10_000;
/// Latest start of a disturbance.
pub(super) const LATEST_MS: u64 = 40_000;
/// Duration of a fault.
pub(super) const DURATION_MS: Range<u64> = 200..20_000;
/// Longest time that a slow backend takes for a request.
pub(super) const MAX_SLOW_MS: u64 = 12_000;
/// Maximum skew of a clock. NTP keeps clocks much closer.
const MAX_SKEW_MS: i64 = 400;

// === impl Disturbance ===

impl Disturbance {
    /// Draws a fault.
    pub(super) fn draw(shape: &Shape, rng: &mut StdRng) -> Self {
        Self {
            at_ms: rng.random_range(WARM_UP_MS..LATEST_MS),
            for_ms: rng.random_range(DURATION_MS),
            kind: Kind::draw(shape, rng),
        }
    }

    /// Draws a fault of the second destination.
    pub(super) fn draw_of_second(rng: &mut StdRng) -> Self {
        let kind = match rng.random_range(0..8) {
            0 => Kind::Kill(backend::SECOND.to_owned()),
            1 => Kind::SecondBackend(Fault::status(401, "invalid token")),
            2 | 3 => Kind::SecondBackend(Fault::RejectMetricAndWholeRequests(VALUE.to_owned())),
            _ => Kind::SecondBackend(backend_fault(rng)),
        };
        Self {
            at_ms: rng.random_range(WARM_UP_MS..LATEST_MS),
            for_ms: rng.random_range(DURATION_MS),
            kind,
        }
    }

    /// Returns true unless only another destination than `host` has this fault.
    pub(super) fn concerns(&self, host: &str) -> bool {
        let of = match &self.kind {
            Kind::Backend(_) | Kind::BackendNext(_) => backend::HOST,
            Kind::SecondBackend(_) => backend::SECOND,
            Kind::Kill(name) | Kind::Partition(_, name) => name,
            _ => host,
        };
        let is_destination = [backend::HOST, backend::SECOND].contains(&of);
        of == host || !is_destination
    }

    /// Returns the start and the end, in milliseconds since the simulation began.
    pub(super) fn range_ms(&self) -> (u64, u64) {
        (self.at_ms, self.at_ms + self.for_ms)
    }
}

// === impl Kind ===

impl Kind {
    fn draw(shape: &Shape, rng: &mut StdRng) -> Self {
        let one = |names: Vec<String>, rng: &mut StdRng| names.choose(rng).cloned();
        let receiver = one(shape.all_receivers(), rng).unwrap_or_default();
        let exporter = one(shape.exporters(), rng).unwrap_or_default();
        let backend = backend::HOST.to_owned();
        match rng.random_range(0..14) {
            0 | 1 => Self::Kill(exporter),
            2 => Self::Restart(exporter),
            3 => Self::Kill(receiver),
            4 => Self::Restart(receiver),
            5 => Self::Kill(backend),
            6 => Self::Partition(receiver, exporter),
            7 => Self::Partition(exporter, backend),
            8 if rng.random() => Self::PartitionOneWay(receiver, exporter),
            8 => Self::PartitionOneWay(exporter, receiver),
            9 => Self::Hold(receiver, exporter),
            10 => Self::Slow(receiver, exporter, rng.random_range(100..2_000)),
            11 => Self::Clock(receiver, rng.random_range(-MAX_SKEW_MS..=MAX_SKEW_MS)),
            12 => Self::Backend(backend_fault(rng)),
            _ => {
                let n = rng.random_range(1..=12);
                Self::BackendNext((0..n).map(|_| backend_fault(rng)).collect())
            }
        }
    }
}

fn backend_fault(rng: &mut StdRng) -> Fault {
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
