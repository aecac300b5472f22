//! The links between hosts, and their latencies.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};
use turmoil::Sim;

use crate::{plan::Plan, targets};

/// All links that carry traffic.
#[derive(Debug)]
pub(super) struct Links(Vec<Link>);

/// Link between two hosts.
#[derive(Debug)]
struct Link {
    ends: (String, String),
    /// Maximum latency of a segment.
    latency: Duration,
}

// === impl Links ===

impl Links {
    /// Creates the links of a mesh.
    pub(super) fn new(plan: &Plan) -> Self {
        let (mut ends, exporters) = (Vec::new(), plan.exporters());
        let receivers = plan.receivers();
        for (at, receiver) in receivers.iter().enumerate() {
            let others = receivers[at + 1..].iter();
            ends.extend(others.map(|other| (receiver.clone(), other.clone())));
            ends.push((receiver.clone(), targets::HOST.to_owned()));
            ends.extend(exporters.iter().map(|to| (receiver.clone(), to.clone())));
        }
        for host in plan.shape.destinations() {
            let exporters = exporters.iter().cloned();
            ends.extend(exporters.map(|from| (from, (*host).to_owned())));
        }
        let latency = plan.shape.latency;
        let links = ends.into_iter().map(|ends| Link { ends, latency });
        Self(links.collect())
    }

    /// Sets the maximum latency of the link from `a` to `b`.
    pub(super) fn set_latency(&mut self, a: &str, b: &str, latency: Duration) {
        let mut links = self.0.iter_mut();
        let is_it = |link: &&mut Link| (link.ends.0.as_str(), link.ends.1.as_str()) == (a, b);
        if let Some(link) = links.find(is_it) {
            link.latency = latency;
        }
    }

    /// Draws the latency of each link, up to its maximum.
    pub(super) fn draw_latencies(&self, sim: &Sim<'_>, rng: &mut StdRng) {
        for Link { ends, latency } in &self.0 {
            let drawn = rng.random_range(1..=latency.as_millis() as u64);
            let drawn = Duration::from_millis(drawn);
            sim.set_link_latency(ends.0.as_str(), ends.1.as_str(), drawn);
        }
    }
}
