//! The scenarios by their names: in which mesh each is played, and what it may cost.

use std::time::Duration;

use clap::ValueEnum;
use mesh_model::labels::{Labels, METRIC_NAME};

use super::{
    scenarios::{backend, clocks, disks, kill, network, outage, roll, scale, sight},
    shape::{Disk, Shape, Tier},
    world::World,
};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// SIGKILL of one of two exporters, which comes back at the same address.
    KillExporter,
    /// SIGKILL of both exporters at once.
    KillBothExporters,
    /// SIGKILL of the gateway, while an application pushes.
    KillGateway,
    /// SIGKILL of a receiver; the other one of its group takes over until it is back.
    KillReceiver,
    /// SIGKILL of a spilling receiver, over and over while the backend is away.
    KillSpillingReceiver,
    /// A receiver is cut off from all exporters.
    PartitionReceiver,
    /// An exporter is cut off from the backend.
    PartitionExporter,
    /// An exporter stands still: connections open, nothing answers.
    FreezeExporter,
    /// An exporter's packets vanish: not even connections open.
    BlackHoleExporter,
    /// A receiver stands still, for longer than its slots.
    FreezeReceiver,
    /// Receivers: 2, 5, 1.
    ScaleReceivers,
    /// Exporters: 2, 5, 1.
    ScaleExporters,
    /// Gateways: 2, 5, 1.
    ScaleGateways,
    /// New receivers for old ones, one by one.
    RollReceivers,
    /// New exporters for old ones, one by one.
    RollExporters,
    /// New gateways for old ones, one by one.
    RollGateways,
    /// The receivers see changes of their members late, each at another time.
    StaleReceivers,
    /// A receiver never sees that exporters went and came.
    StaleExporters,
    /// The backend throttles.
    #[value(name = "amp-429")]
    Amp429,
    /// The backend fails.
    #[value(name = "amp-500")]
    Amp500,
    /// The backend stores and does not answer in time, for less than a deadline.
    AmpTimeOut,
    /// The backend stores and does not answer, for longer than a deadline.
    AmpHang,
    /// The backend stores ten seconds later than it is asked to.
    AmpSlow,
    /// The backend refuses one metric and stores the rest.
    AmpRefusesOneSeries,
    /// The backend takes no new series while a target is new.
    AmpSeriesLimit,
    /// The backend knows the credentials no more; new ones are found some seconds later.
    #[value(name = "amp-403")]
    Amp403,
    /// The backend is down for ten minutes.
    #[value(name = "amp-down-10m")]
    AmpDown10m,
    /// The backend is down for seventy minutes, at a twentieth of all times.
    #[value(name = "amp-down-70m")]
    AmpDown70m,
    /// The disk under the outbox is full while the backend is away.
    DiskFull,
    /// `fdatasync` fails under the outbox while the backend is away.
    SyncFails,
    /// A receiver's clock is set ahead or back, and right again.
    ClockSteps,
    /// A simulated day of an HA pair that is scraped once a minute; in each hour
    /// something goes wrong.
    VirtualDay,
}

/// What a scenario may cost.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// What the backend refuses.
    pub refuses: Option<Refused>,
    /// Samples may grow too old.
    pub expires: bool,
    /// Times may come twice, as clocks are set.
    pub repeats: bool,
    /// Elections of a replica group at most, the first included.
    pub elections: u64,
    /// How long a batch may be in the memory of a receiver that is killed, in
    /// milliseconds.
    pub memory_ms: i64,
}

/// What the backend refuses in a scenario.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// A metric.
    Metric(&'static str),
    /// Whatever is new.
    New,
}

// === impl Scenario ===

impl Scenario {
    /// Those that `--quick` runs: one of each kind.
    pub(crate) const QUICK: [Self; 5] = [
        Self::KillExporter,
        Self::KillReceiver,
        Self::BlackHoleExporter,
        Self::RollExporters,
        Self::Amp500,
    ];

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name, as it is given on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it needs a backend that is told to refuse something, or hastened.
    pub(crate) fn needs_stand_in(self) -> bool {
        matches!(
            self,
            Self::AmpRefusesOneSeries | Self::AmpSeriesLimit | Self::AmpDown70m | Self::VirtualDay
        )
    }

    /// The mesh that it is played in.
    pub(crate) fn shape(self) -> Shape {
        let usual = Shape::default();
        match self {
            Self::KillReceiver | Self::FreezeReceiver => Shape {
                groups: 2,
                ..Shape::moving()
            },
            Self::ScaleReceivers | Self::RollReceivers | Self::StaleReceivers => Shape::moving(),
            Self::ScaleGateways | Self::RollGateways => Shape {
                gateways: 2,
                ..usual
            },
            Self::KillSpillingReceiver => Shape {
                groups: 1,
                disk: Disk::Good,
                ..usual
            },
            Self::AmpDown10m => Shape {
                interval: Duration::from_secs(5),
                ..usual
            },
            Self::AmpDown70m => outage::hastened(usual),
            Self::DiskFull => disks::shape(Disk::Full),
            Self::SyncFails => disks::shape(Disk::FailingSync),
            Self::ClockSteps => Shape {
                own_clocks: true,
                ..usual
            },
            _ => usual,
        }
    }

    /// What it may cost.
    pub(crate) fn rules(self) -> Rules {
        let usual = Rules::default();
        match self {
            Self::AmpRefusesOneSeries => Rules {
                refuses: Some(Refused::Metric(backend::REFUSED)),
                ..usual
            },
            Self::AmpSeriesLimit => Rules {
                refuses: Some(Refused::New),
                ..usual
            },
            // Away for longer than the 30 s of an election, whoever comes back first
            // is elected.
            Self::AmpDown10m => Rules {
                elections: 2,
                ..usual
            },
            Self::AmpDown70m => Rules {
                elections: 2,
                expires: true,
                ..usual
            },
            Self::ClockSteps => Rules {
                repeats: true,
                ..usual
            },
            _ => usual,
        }
    }

    /// Breaks it and mends it.
    ///
    /// # Errors
    /// Where a part does not start or stop, or cannot be found.
    pub(crate) async fn play(self, world: &mut World) -> anyhow::Result<()> {
        match self {
            Self::KillExporter => kill::exporters(world, 1).await,
            Self::KillBothExporters => kill::exporters(world, 2).await,
            Self::KillGateway => kill::gateway(world).await,
            Self::KillReceiver => kill::receiver(world).await,
            Self::KillSpillingReceiver => kill::over_and_over(world).await,
            Self::PartitionReceiver => network::cut(world, Tier::Receiver(0)).await,
            Self::PartitionExporter => network::cut(world, Tier::Exporter).await,
            Self::FreezeExporter => network::freeze(world, Tier::Exporter).await,
            Self::FreezeReceiver => network::freeze(world, Tier::Receiver(0)).await,
            Self::BlackHoleExporter => network::black_hole(world).await,
            Self::ScaleReceivers => scale::two_five_one(world, Tier::Receiver(0)).await,
            Self::ScaleExporters => scale::two_five_one(world, Tier::Exporter).await,
            Self::ScaleGateways => scale::two_five_one(world, Tier::Gateway).await,
            Self::RollReceivers => roll::all(world, Tier::Receiver(0)).await,
            Self::RollExporters => roll::all(world, Tier::Exporter).await,
            Self::RollGateways => roll::all(world, Tier::Gateway).await,
            Self::StaleReceivers => sight::receivers(world).await,
            Self::StaleExporters => sight::exporters(world).await,
            Self::Amp429
            | Self::Amp500
            | Self::AmpTimeOut
            | Self::AmpHang
            | Self::AmpSlow
            | Self::AmpRefusesOneSeries => backend::fault(world, self).await,
            Self::AmpSeriesLimit => backend::series_limit(world).await,
            Self::Amp403 => backend::rotated_credentials(world).await,
            Self::AmpDown10m => outage::ten_minutes(world).await,
            Self::AmpDown70m => outage::seventy_minutes(world).await,
            Self::DiskFull => disks::fails(world, "disk_full").await,
            Self::SyncFails => disks::fails(world, "sync").await,
            Self::ClockSteps => clocks::steps(world).await,
            Self::VirtualDay => anyhow::bail!("it is simulated, in no mesh of processes"),
        }
    }
}

// === impl Rules ===

impl Default for Rules {
    fn default() -> Self {
        Self {
            refuses: None,
            expires: false,
            repeats: false,
            elections: 1,
            memory_ms: 3_000,
        }
    }
}

impl Rules {
    /// Whether the scenario has the backend refuse this series.
    pub(crate) fn is_refused(&self, labels: &Labels) -> bool {
        match self.refuses {
            Some(Refused::Metric(name)) => labels.get(METRIC_NAME) == Some(name),
            Some(Refused::New) => true,
            None => false,
        }
    }
}
