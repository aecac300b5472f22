//! The shape of a simulated mesh, and the names of its hosts.

use std::time::Duration;

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use crate::backend;

/// Number and settings of the services in a mesh.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Number of replica groups: one, or two for an HA pair.
    pub(crate) groups: usize,
    /// Receivers per group.
    pub(crate) receivers: usize,
    pub(crate) exporters: usize,
    pub(crate) targets: usize,
    pub(crate) interval: Duration,
    /// Bytes in flight at which a receiver sends no further Export.
    pub(crate) in_flight_kib: u16,
    /// Maximum latency of a segment without faults.
    pub(crate) latency: Duration,
    /// Time for which each host runs before the next one does.
    pub(crate) tick: Duration,
    /// True if the pair sends heartbeats.
    pub(crate) heartbeats: bool,
    /// Age in seconds at which receivers spill batches; `None` without a spill directory.
    pub(crate) spill_after: Option<u64>,
    /// True if the exporters write to a second destination.
    pub(crate) second_destination: bool,
}

/// Default for [`Shape::tick`].
const TICK: Duration = Duration::from_millis(10);

/// Name of a receiver.
pub(super) fn receiver(group: &str, i: usize) -> String {
    format!("receiver-{group}-{i}")
}

/// Name of an exporter.
pub(super) fn exporter(i: usize) -> String {
    format!("exporter-{i}")
}

/// Replica group of the receiver with this name; `None` for other hosts.
pub(crate) fn group(name: &str) -> Option<&str> {
    name.strip_prefix("receiver-")?.split('-').next()
}

// === impl Shape ===

impl Shape {
    /// Draws a shape without heartbeats and spilling.
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        Self {
            groups: rng.random_range(1..=2),
            receivers: rng.random_range(1..=3),
            exporters: rng.random_range(1..=3),
            targets: rng.random_range(2..=6),
            interval: Duration::from_secs(*[1, 2, 5, 15].choose(rng).unwrap_or(&1)),
            in_flight_kib: rng.random_range(1..=6),
            latency: Duration::from_millis(rng.random_range(2..=60)),
            tick: TICK,
            heartbeats: false,
            spill_after: None,
            second_destination: false,
        }
    }

    /// Gives some pairs heartbeats, with an interval that is long enough to need them.
    pub(super) fn draw_heartbeats(&mut self, rng: &mut StdRng) {
        if self.groups > 1 && rng.random_ratio(1, 3) {
            self.heartbeats = true;
            self.interval = Duration::from_secs(*[15, 60].choose(rng).unwrap_or(&60));
        }
    }

    /// Gives the receivers of some meshes spill directories.
    pub(super) fn draw_spill(&mut self, rng: &mut StdRng) {
        if rng.random_ratio(1, 3) {
            self.spill_after = [0, 3].choose(rng).copied();
        }
    }

    /// Gives some meshes a second destination.
    pub(super) fn draw_second_destination(&mut self, rng: &mut StdRng) {
        self.second_destination = rng.random_ratio(1, 3);
    }

    /// Returns the hosts of the destinations.
    pub(crate) fn destinations(&self) -> &'static [&'static str] {
        &[backend::HOST, backend::SECOND][..1 + usize::from(self.second_destination)]
    }

    /// Returns the names of the replica groups.
    pub(crate) fn groups(&self) -> &'static [&'static str] {
        &["a", "b"][..self.groups]
    }

    /// Returns the names of a group's receivers.
    pub(super) fn receivers(&self, group: &str) -> Vec<String> {
        (0..self.receivers).map(|i| receiver(group, i)).collect()
    }

    /// Returns the names of all receivers.
    pub(crate) fn all_receivers(&self) -> Vec<String> {
        let groups = self.groups().iter();
        groups.flat_map(|group| self.receivers(group)).collect()
    }

    /// Returns the names of the exporters.
    pub(crate) fn exporters(&self) -> Vec<String> {
        (0..self.exporters).map(exporter).collect()
    }
}
