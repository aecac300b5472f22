//! How large a mesh is, and how its services are set.

use std::time::Duration;

use stand_ins::amp::Upstream;

/// The shape of a mesh.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Replica groups: one, or the two of an HA pair.
    pub groups: usize,
    /// Receivers of each group.
    pub receivers: usize,
    /// Exporters.
    pub exporters: usize,
    /// Gateways.
    pub gateways: usize,
    /// Targets, each with slots of its own.
    pub targets: usize,
    /// Time between two scrapes of a target.
    pub interval: Duration,
    /// Where receivers spill to.
    pub disk: Disk,
    /// More flags of receivers.
    pub receiver_flags: Vec<String>,
    /// How old a batch may be that waits in a sender.
    pub max_batch_age: Duration,
    /// How old a sample may be that the backend takes.
    pub max_sample_age: Duration,
    /// The receivers' clocks can be set.
    pub own_clocks: bool,
    /// A real backend behind the stand-in.
    pub upstream: Option<Upstream>,
}

/// The disk of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// None: what waits is in memory.
    None,
    /// One that works.
    Good,
    /// One that is full after a moment.
    Full,
    /// One whose `fdatasync` fails after a moment.
    FailingSync,
}

/// A tier, which is a Kubernetes service, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// The receivers of the n-th replica group.
    Receiver(usize),
    /// The exporters.
    Exporter,
    /// The gateways.
    Gateway,
}

/// Bytes that batches may take in the memory of a sender.
pub(crate) const OUTBOX_BYTES: u64 = 64 << 20;
/// Bytes that scrapes, pushes or Exports under way may take.
pub(crate) const WORK_BYTES: u64 = 32 << 20;
/// Bytes that a process takes without any of those: program, runtime, connections,
/// series caches of some hundred series.
const BASE_BYTES: u64 = 64 << 20;
/// What no process may exceed.
pub(crate) const MEMORY_BOUND: u64 = OUTBOX_BYTES + WORK_BYTES + BASE_BYTES;

const GROUPS: [&str; 2] = ["a", "b"];

// === impl Shape ===

impl Default for Shape {
    fn default() -> Self {
        Self {
            groups: 2,
            receivers: 2,
            exporters: 2,
            gateways: 1,
            targets: 12,
            interval: Duration::from_secs(1),
            disk: Disk::None,
            receiver_flags: Vec::new(),
            max_batch_age: Duration::from_secs(55 * 60),
            max_sample_age: Duration::from_secs(3600),
            own_clocks: false,
            upstream: None,
        }
    }
}

impl Shape {
    /// One replica group, whose targets move: each of their slots has to be longer
    /// than a new owner waits.
    pub(crate) fn moving() -> Self {
        Self {
            groups: 1,
            interval: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// The tiers, and how many pods are in each.
    pub(crate) fn tiers(&self) -> Vec<(Tier, usize)> {
        let groups = (0..self.groups).map(|group| (Tier::Receiver(group), self.receivers));
        let others = [
            (Tier::Exporter, self.exporters),
            (Tier::Gateway, self.gateways),
        ];
        others.into_iter().chain(groups).collect()
    }
}

// === impl Tier ===

impl Tier {
    /// The name of its service.
    pub(crate) fn service(self) -> String {
        match self {
            Self::Receiver(group) => format!("receiver-{}", GROUPS[group]),
            Self::Exporter => "exporter".to_owned(),
            Self::Gateway => "gateway".to_owned(),
        }
    }

    /// The replica that its samples are of.
    pub(crate) fn replica(self) -> Option<&'static str> {
        match self {
            Self::Receiver(group) => Some(GROUPS[group]),
            Self::Exporter | Self::Gateway => None,
        }
    }

    /// Whether its pods have to know those of the other.
    pub(crate) fn knows(self, other: Self) -> bool {
        match self {
            Self::Exporter => false,
            Self::Receiver(_) | Self::Gateway => other == Self::Exporter || other == self,
        }
    }
}
