//! A day of an HA pair with a scrape interval of one minute. The backend elects a new leader
//! after 30 s of silence, so heartbeats have to keep the group elected.

use std::time::Duration;

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use stand_ins::amp::Fault;

use super::{
    disturbance::{Disturbance, Kind},
    shape::Shape,
};
use crate::backend;

/// Longer than in other simulations, since a day has many ticks.
const TICK: Duration = Duration::from_millis(50);
const HOUR_MS: u64 = 3_600_000;
/// Start of a fault within its hour.
const START_MS: std::ops::Range<u64> = 60_000..HOUR_MS - 300_000;
/// Duration of a fault. A group may be silent for 10 s.
const DURATION_MS: std::ops::Range<u64> = 500..8_000;

/// Draws the shape of the pair.
pub(super) fn shape(rng: &mut StdRng) -> Shape {
    Shape {
        groups: 2,
        receivers: 2,
        exporters: 2,
        targets: 6,
        interval: Duration::from_secs(60),
        in_flight_kib: 64,
        latency: Duration::from_millis(rng.random_range(2..=20)),
        tick: TICK,
        heartbeats: true,
        spill_after: None,
        second_destination: false,
    }
}

/// Draws one fault of a few seconds for each hour. None of them makes a group unhealthy.
pub(super) fn faults(shape: &Shape, rng: &mut StdRng) -> Vec<Disturbance> {
    let faults = (0..24).map(|hour| Disturbance {
        at_ms: hour * HOUR_MS + rng.random_range(START_MS),
        for_ms: rng.random_range(DURATION_MS),
        kind: kind(shape, rng),
    });
    faults.collect()
}

fn kind(shape: &Shape, rng: &mut StdRng) -> Kind {
    let one = |names: Vec<String>, rng: &mut StdRng| names.choose(rng).cloned();
    let receiver = one(shape.all_receivers(), rng).unwrap_or_default();
    let exporter = one(shape.exporters(), rng).unwrap_or_default();
    match rng.random_range(0..10) {
        0 => Kind::Kill(exporter),
        1 => Kind::Restart(exporter),
        2 => Kind::Kill(receiver),
        3 => Kind::Restart(receiver),
        4 => Kind::Partition(receiver, exporter),
        5 => Kind::Partition(exporter, backend::HOST.to_owned()),
        6 => Kind::Slow(receiver, exporter, rng.random_range(100..2_000)),
        7 => Kind::Backend(Fault::throttle(1)),
        8 => Kind::Backend(Fault::status(500, "internal error")),
        _ => Kind::Backend(Fault::StoreAndHang),
    }
}
