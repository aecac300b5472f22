//! Size of a mesh and settings of its services.

use std::time::Duration;

use stand_ins::amp::Upstream;

/// Size of a mesh and settings of its services.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Number of replica groups: 1, or 2 for an HA pair.
    pub groups: usize,
    /// Receivers in each group.
    pub receivers: usize,
    /// Number of exporters.
    pub exporters: usize,
    /// Number of gateways.
    pub gateways: usize,
    /// Number of targets.
    pub targets: usize,
    /// Scrape interval.
    pub interval: Duration,
    /// Disk of each receiver.
    pub disk: Disk,
    /// Further flags of receivers.
    pub receiver_flags: Vec<String>,
    /// Further flags of gateways.
    pub gateway_flags: Vec<String>,
    /// Maximum age of a batch in an outbox.
    pub max_batch_age: Duration,
    /// Maximum age of a sample that the backend accepts.
    pub max_sample_age: Duration,
    /// Set if the receivers' clocks can be changed.
    pub own_clocks: bool,
    /// A real backend behind the stand-in.
    pub upstream: Option<Upstream>,
    /// Second destination of the exporters.
    pub second: Second,
}

/// Second destination of the exporters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Second {
    /// No second destination.
    None,
    /// A second destination that works at the start.
    Up,
    /// A second destination that is down from the start.
    Down,
}

/// Disk of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// No disk: batches stay in memory.
    None,
    /// A disk that works.
    Good,
    /// A disk that is full after a few seconds.
    Full,
    /// A disk whose `fdatasync` fails after a few seconds.
    FailingSync,
}

/// A tier. Each is a Kubernetes service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Receivers of the n-th replica group.
    Receiver(usize),
    /// Exporters.
    Exporter,
    /// Gateways.
    Gateway,
}

/// Memory budget of a sender's outbox, in bytes.
pub(crate) const OUTBOX_BYTES: u64 = 64 << 20;
/// Memory budget of scrapes, pushes or exports in flight, in bytes.
pub(crate) const WORK_BYTES: u64 = 32 << 20;
/// Memory of a process without these budgets: program, runtime, connections, and caches of
/// some hundred series.
const BASE_BYTES: u64 = 64 << 20;
/// Maximum resident memory of a process, in bytes.
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
            gateway_flags: Vec::new(),
            max_batch_age: Duration::from_secs(55 * 60),
            max_sample_age: Duration::from_secs(3600),
            own_clocks: false,
            upstream: None,
            second: Second::None,
        }
    }
}

impl Shape {
    /// One replica group whose targets move. The interval is longer than a new owner waits.
    pub(crate) fn moving() -> Self {
        Self {
            groups: 1,
            interval: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// Tiers, each with its number of pods.
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
    /// Name of the Kubernetes service.
    pub(crate) fn service(self) -> String {
        match self {
            Self::Receiver(group) => format!("receiver-{}", GROUPS[group]),
            Self::Exporter => "exporter".to_owned(),
            Self::Gateway => "gateway".to_owned(),
        }
    }

    /// Replica name of its samples.
    pub(crate) fn replica(self) -> Option<&'static str> {
        match self {
            Self::Receiver(group) => Some(GROUPS[group]),
            Self::Exporter | Self::Gateway => None,
        }
    }

    /// Returns `true` if its pods watch the endpoints of the other tier.
    pub(crate) fn watches(self, other: Self) -> bool {
        match self {
            Self::Exporter => false,
            Self::Receiver(_) | Self::Gateway => other == Self::Exporter || other == self,
        }
    }
}
