//! Scenarios by name, each with its mesh and with the laws that it relaxes.

use std::time::Duration;

use clap::ValueEnum;
use mesh_model::labels::{Labels, METRIC_NAME};

use super::{
    cluster::Cluster,
    scenarios::{
        backend, clocks, disks, kill, network, outage, poison, roll, scale, second, stale_views,
    },
    shape::{Disk, Second, Shape, Tier},
};

/// A failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// SIGKILL of one of two exporters, which restarts at the same address.
    KillExporter,
    /// SIGKILL of both exporters at once.
    KillBothExporters,
    /// SIGKILL of the gateway while an application pushes.
    KillGateway,
    /// SIGKILL of a receiver. The other one of its group takes over until it is back.
    KillReceiver,
    /// Repeated SIGKILL of a spilling receiver while the backend is down.
    KillSpillingReceiver,
    /// Partition between a receiver and all exporters.
    PartitionReceiver,
    /// Partition between an exporter and the backend.
    PartitionExporter,
    /// Stopped exporter (SIGSTOP): connections stay open and get no response.
    FreezeExporter,
    /// Exporter whose packets are lost: connections cannot be opened either.
    BlackHoleExporter,
    /// Stopped receiver (SIGSTOP), for longer than its slots.
    FreezeReceiver,
    /// Scales receivers from 2 to 5 to 1.
    ScaleReceivers,
    /// Scales exporters from 2 to 5 to 1.
    ScaleExporters,
    /// Scales gateways from 2 to 5 to 1.
    ScaleGateways,
    /// Replaces receivers one by one.
    RollReceivers,
    /// Replaces exporters one by one.
    RollExporters,
    /// Replaces gateways one by one.
    RollGateways,
    /// Receivers that learn late of changes of their members, each at another time.
    StaleReceivers,
    /// Receiver that never learns that exporters were replaced.
    StaleExporters,
    /// Backend that throttles.
    #[value(name = "amp-429")]
    Amp429,
    /// Backend that fails.
    #[value(name = "amp-500")]
    Amp500,
    /// Backend that stores requests without a response, for less than an export's deadline.
    AmpTimeOut,
    /// Backend that stores requests without a response, for longer than an export's
    /// deadline.
    AmpHang,
    /// Backend that stores requests ten seconds late.
    AmpSlow,
    /// Backend that refuses one metric and stores the others.
    AmpRefusesOneSeries,
    /// Backend that refuses new series while a target is new.
    AmpSeriesLimit,
    /// Backend that revokes the credentials. The exporters get new ones some seconds later.
    #[value(name = "amp-403")]
    Amp403,
    /// Backend that is down for ten minutes.
    #[value(name = "amp-down-10m")]
    AmpDown10m,
    /// Backend that is down for seventy minutes. All times are divided by twenty.
    #[value(name = "amp-down-70m")]
    AmpDown70m,
    /// Pushed batch that kills each exporter that gets it, among good ones.
    PoisonBatch,
    /// Second destination that is down from the start.
    SecondDown,
    /// Second destination that stores requests four seconds late.
    SecondSlow,
    /// Second destination that receives requests and answers none.
    SecondHangs,
    /// Second destination that fails and works in turn.
    SecondFlaps,
    /// Second destination that refuses the token (401) for a minute.
    #[value(name = "second-401")]
    Second401,
    /// Second destination that rejects whole requests because of one of twenty targets.
    SecondRejectsRequests,
    /// Second destination that a reload removes while samples are pending for it.
    SecondRemoved,
    /// Disk of the outbox that is full while the backend is down.
    DiskFull,
    /// `fdatasync` that fails under the outbox while the backend is down.
    SyncFails,
    /// Receiver whose clock is set forward or back, and then corrected.
    ClockSteps,
    /// Simulated day of an HA pair that is scraped once a minute, with a failure in each
    /// hour.
    VirtualDay,
}

/// Laws that a scenario relaxes.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Samples that the backend refuses.
    pub refuses: Option<Refused>,
    /// Set if samples may expire.
    pub allows_expiry: bool,
    /// Set if a receiver's clock may show a time twice.
    pub allows_repeated_times: bool,
    /// Set if the second destination is removed. Samples that only it lacks expire.
    pub removes_second: bool,
    /// Maximum number of elections of a replica group, including the first.
    pub elections: u64,
    /// Maximum time that a batch stays in the memory of a killed receiver, in milliseconds.
    pub memory_ms: i64,
}

/// Samples that the backend refuses in a scenario.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// All samples of one metric.
    Metric(&'static str),
    /// Samples of new series.
    New,
}

// === impl Scenario ===

impl Scenario {
    /// Scenarios of `--quick`: one of each kind.
    pub(crate) const QUICK: [Self; 6] = [
        Self::KillExporter,
        Self::KillReceiver,
        Self::BlackHoleExporter,
        Self::ScaleReceivers,
        Self::RollExporters,
        Self::Amp500,
    ];

    /// All scenarios.
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns `true` if the scenario needs responses of the stand-in, or its shorter
    /// times.
    pub(crate) fn needs_stand_in(self) -> bool {
        matches!(
            self,
            Self::AmpRefusesOneSeries | Self::AmpSeriesLimit | Self::AmpDown70m | Self::VirtualDay
        ) || self.shape().second != Second::None
    }

    /// Mesh of the scenario.
    pub(crate) fn shape(self) -> Shape {
        let default = Shape::default();
        match self {
            Self::KillReceiver | Self::FreezeReceiver => Shape {
                groups: 2,
                ..Shape::moving()
            },
            Self::ScaleReceivers | Self::RollReceivers | Self::StaleReceivers => Shape::moving(),
            Self::ScaleGateways | Self::RollGateways => Shape {
                gateways: 2,
                ..default
            },
            Self::KillSpillingReceiver => Shape {
                groups: 1,
                disk: Disk::Good,
                ..default
            },
            Self::AmpDown10m => Shape {
                interval: Duration::from_secs(5),
                ..default
            },
            Self::AmpDown70m => outage::time_scaled(default),
            Self::DiskFull => disks::shape(Disk::Full),
            Self::SyncFails => disks::shape(Disk::FailingSync),
            Self::ClockSteps => Shape {
                own_clocks: true,
                ..default
            },
            Self::PoisonBatch => Shape {
                gateway_flags: vec!["--exporter.compression=none".to_owned()],
                ..default
            },
            Self::SecondDown | Self::SecondRemoved => Shape {
                second: Second::Down,
                ..default
            },
            Self::SecondSlow | Self::SecondHangs | Self::SecondFlaps | Self::Second401 => Shape {
                second: Second::Up,
                ..default
            },
            Self::SecondRejectsRequests => Shape {
                targets: 19,
                second: Second::Up,
                ..default
            },
            _ => default,
        }
    }

    /// Laws that the scenario relaxes.
    pub(crate) fn rules(self) -> Rules {
        let default = Rules::default();
        match self {
            Self::AmpRefusesOneSeries => Rules {
                refuses: Some(Refused::Metric(backend::REFUSED)),
                ..default
            },
            Self::AmpSeriesLimit => Rules {
                refuses: Some(Refused::New),
                ..default
            },
            // The outage is longer than the 30 s of an election. The first replica that
            // comes back is elected.
            Self::AmpDown10m => Rules {
                elections: 2,
                ..default
            },
            Self::AmpDown70m => Rules {
                elections: 2,
                allows_expiry: true,
                ..default
            },
            Self::ClockSteps => Rules {
                allows_repeated_times: true,
                ..default
            },
            Self::SecondRemoved => Rules {
                removes_second: true,
                ..default
            },
            _ => default,
        }
    }

    /// Laws that the scenario relaxes for the second destination.
    pub(crate) fn rules_of_second(self) -> Rules {
        let default = self.rules();
        match self {
            // It is down for longer than the 30 s of an election.
            Self::SecondDown | Self::Second401 => Rules {
                elections: 2,
                ..default
            },
            Self::SecondRejectsRequests => Rules {
                refuses: Some(Refused::Metric(second::REFUSED)),
                ..default
            },
            _ => default,
        }
    }

    /// Injects the fault and repairs it.
    ///
    /// # Errors
    /// Returns an error if a process does not start or stop, or does not exist.
    pub(crate) async fn run(self, cluster: &mut Cluster) -> anyhow::Result<()> {
        match self {
            Self::KillExporter => kill::exporters(cluster, 1).await,
            Self::KillBothExporters => kill::exporters(cluster, 2).await,
            Self::KillGateway => kill::gateway(cluster).await,
            Self::KillReceiver => kill::receiver(cluster).await,
            Self::KillSpillingReceiver => kill::repeatedly(cluster).await,
            Self::PartitionReceiver => network::cut(cluster, Tier::Receiver(0)).await,
            Self::PartitionExporter => network::cut(cluster, Tier::Exporter).await,
            Self::FreezeExporter => network::freeze(cluster, Tier::Exporter).await,
            Self::FreezeReceiver => network::freeze(cluster, Tier::Receiver(0)).await,
            Self::BlackHoleExporter => network::black_hole(cluster).await,
            Self::ScaleReceivers => scale::up_and_down(cluster, Tier::Receiver(0)).await,
            Self::ScaleExporters => scale::up_and_down(cluster, Tier::Exporter).await,
            Self::ScaleGateways => scale::up_and_down(cluster, Tier::Gateway).await,
            Self::RollReceivers => roll::all(cluster, Tier::Receiver(0)).await,
            Self::RollExporters => roll::all(cluster, Tier::Exporter).await,
            Self::RollGateways => roll::all(cluster, Tier::Gateway).await,
            Self::StaleReceivers => stale_views::receivers(cluster).await,
            Self::StaleExporters => stale_views::exporters(cluster).await,
            Self::Amp429 => backend::throttle(cluster).await,
            Self::Amp500 => backend::errors(cluster).await,
            Self::AmpTimeOut => backend::time_out(cluster).await,
            Self::AmpHang => backend::hang(cluster).await,
            Self::AmpSlow => backend::slow(cluster).await,
            Self::AmpRefusesOneSeries => backend::reject_metric(cluster).await,
            Self::AmpSeriesLimit => backend::series_limit(cluster).await,
            Self::Amp403 => backend::rotated_credentials(cluster).await,
            Self::AmpDown10m => outage::ten_minutes(cluster).await,
            Self::AmpDown70m => outage::seventy_minutes(cluster).await,
            Self::DiskFull => disks::fails(cluster, "disk_full").await,
            Self::SyncFails => disks::fails(cluster, "sync").await,
            Self::ClockSteps => clocks::steps(cluster).await,
            Self::PoisonBatch => poison::batch(cluster).await,
            Self::SecondDown => second::down_from_the_start(cluster).await,
            Self::SecondSlow => second::slow(cluster).await,
            Self::SecondHangs => second::hangs(cluster).await,
            Self::SecondFlaps => second::flaps(cluster).await,
            Self::Second401 => second::unauthorized(cluster).await,
            Self::SecondRejectsRequests => second::rejects_whole_requests(cluster).await,
            Self::SecondRemoved => second::removed(cluster).await,
            Self::VirtualDay => anyhow::bail!("virtual-day runs in the simulation"),
        }
    }
}

// === impl Rules ===

impl Default for Rules {
    fn default() -> Self {
        Self {
            refuses: None,
            allows_expiry: false,
            allows_repeated_times: false,
            removes_second: false,
            elections: 1,
            memory_ms: 3_000,
        }
    }
}

impl Rules {
    /// Returns `true` if the scenario makes the backend refuse this series.
    pub(crate) fn is_refused(&self, labels: &Labels) -> bool {
        match self.refuses {
            Some(Refused::Metric(name)) => labels.get(METRIC_NAME) == Some(name),
            Some(Refused::New) => true,
            None => false,
        }
    }
}
