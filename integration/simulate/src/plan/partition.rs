//! Broken links between receivers of one group. Some last longer than the time for which a
//! silent receiver is presumed to scrape, some shorter.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::{
    disturbance::{DURATION_MS, Disturbance, Kind, LATEST_MS, WARM_UP_MS},
    shape::group,
};

/// One simulation in this number has such faults.
const ONE_IN: u32 = 3;

/// Draws faults between `receivers`, or none.
pub(super) fn draw_all(receivers: &[String], rng: &mut StdRng) -> Vec<Disturbance> {
    let mut pairs = pairs(receivers);
    let mut faults = Vec::new();
    if rng.random_ratio(1, ONE_IN) {
        for _ in 0..rng.random_range(1..=3) {
            let Some((a, b)) = pairs.choose(rng).cloned() else {
                break;
            };
            // At most one fault per link: the end of one would end the other.
            pairs.retain(|pair| *pair != (a.clone(), b.clone()));
            faults.push(Disturbance {
                at_ms: rng.random_range(WARM_UP_MS..LATEST_MS),
                for_ms: rng.random_range(DURATION_MS),
                kind: kind(a, b, rng),
            });
        }
    }
    faults
}

fn kind(a: String, b: String, rng: &mut StdRng) -> Kind {
    match rng.random_range(0..6) {
        0 | 1 => Kind::Partition(a, b),
        2 => Kind::PartitionOneWay(a, b),
        3 => Kind::PartitionOneWay(b, a),
        4 => Kind::Hold(a, b),
        _ => Kind::Slow(a, b, rng.random_range(100..2_000)),
    }
}

fn pairs(receivers: &[String]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (at, a) in receivers.iter().enumerate() {
        let others = receivers[at + 1..].iter();
        let others = others.filter(|b| group(a) == group(b));
        pairs.extend(others.map(|b| (a.clone(), b.clone())));
    }
    pairs
}
