//! A day of an HA pair whose targets are scraped once a minute, half as often as the
//! backend elects anew: what keeps one group elected is its heartbeat.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::plan::{Disturbance, Plan, Shape, What};
use stand_ins::amp::Fault;
use crate::backend;

/// Longer than otherwise, as a day has many.
const TICK: Duration = Duration::from_millis(50);
const HOUR_MS: u64 = 3_600_000;
/// When in its hour something may begin to go wrong.
const BEGIN_MS: std::ops::Range<u64> = 60_000..HOUR_MS - 300_000;
/// Less than a group may be silent.
const LENGTH_MS: std::ops::Range<u64> = 500..8_000;

/// The day of a seed: in each hour one thing goes wrong for some seconds, and never so
/// much that a group is sick.
pub(super) fn plan(seed: u64) -> Plan {
    let mut rng = StdRng::seed_from_u64(seed);
    let shape = Shape {
        groups: 2,
        receivers: 2,
        exporters: 2,
        targets: 6,
        interval: Duration::from_secs(60),
        lanes: 4,
        latency: Duration::from_millis(rng.random_range(2..=20)),
        tick: TICK,
        heartbeats: true,
        spill_after: None,
    };
    let disturbances = (0..24).map(|hour| Disturbance {
        at_ms: hour * HOUR_MS + rng.random_range(BEGIN_MS),
        for_ms: rng.random_range(LENGTH_MS),
        what: what(&shape, &mut rng),
    });
    let disturbances = disturbances.collect();
    Plan::new(seed, shape, disturbances)
}

fn what(shape: &Shape, rng: &mut StdRng) -> What {
    let one = |names: Vec<String>, rng: &mut StdRng| names.choose(rng).cloned();
    let receiver = one(shape.all_receivers(), rng).unwrap_or_default();
    let exporter = one(shape.exporters(), rng).unwrap_or_default();
    match rng.random_range(0..10) {
        0 => What::Crash(exporter),
        1 => What::Restart(exporter),
        2 => What::Crash(receiver),
        3 => What::Restart(receiver),
        4 => What::Cut(receiver, exporter),
        5 => What::Cut(exporter, backend::HOST.to_owned()),
        6 => What::Slow(receiver, exporter, rng.random_range(100..2_000)),
        7 => What::Backend(Fault::throttle(1)),
        8 => What::Backend(Fault::status(500, "internal error")),
        _ => What::Backend(Fault::StoreAndHang),
    }
}
