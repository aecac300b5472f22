//! Receivers of one group that do not reach each other, or late: shorter and longer
//! than one that does not answer is presumed to scrape.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::{CALM_MS, Disturbance, LAST_MS, LENGTH_MS, Plan, What, group};

/// One simulation in so many has them.
const ONE_IN: u32 = 3;

/// Cuts between receivers of a mesh, or none.
pub(super) fn draw_all(plan: &Plan, rng: &mut StdRng) -> Vec<Disturbance> {
    let mut pairs = pairs(&plan.receivers());
    let mut cuts = Vec::new();
    if rng.random_ratio(1, ONE_IN) {
        for _ in 0..rng.random_range(1..=3) {
            let Some((a, b)) = pairs.choose(rng).cloned() else {
                break;
            };
            // One at a time goes wrong between two: the end of one would end all.
            pairs.retain(|pair| *pair != (a.clone(), b.clone()));
            cuts.push(Disturbance {
                at_ms: rng.random_range(CALM_MS..LAST_MS),
                for_ms: rng.random_range(LENGTH_MS),
                what: what(a, b, rng),
            });
        }
    }
    cuts
}

fn what(a: String, b: String, rng: &mut StdRng) -> What {
    match rng.random_range(0..6) {
        0 | 1 => What::Cut(a, b),
        2 => What::CutOneWay(a, b),
        3 => What::CutOneWay(b, a),
        4 => What::Hold(a, b),
        _ => What::Slow(a, b, rng.random_range(100..2_000)),
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
