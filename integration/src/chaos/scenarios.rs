//! What is broken, for how long, and how it is mended.

use std::{slice::from_mut, time::Duration};

use anyhow::Context;
use clap::ValueEnum;

use crate::{
    amp::{Fault, Outcome},
    arrivals,
    child::Service,
    mesh::Mesh,
    otel,
    sample_app::SCRAPES,
};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// SIGKILL of one of the two exporters, which comes back at the same address.
    KillExporter,
    /// SIGKILL of both exporters at once.
    KillBothExporters,
    /// SIGKILL of the gateway, while an application pushes.
    KillGateway,
    /// SIGKILL of the elected group's receiver that owns the target.
    KillReceiver,
    /// The backend throttles.
    #[value(name = "amp-429")]
    Amp429,
    /// The backend fails.
    #[value(name = "amp-500")]
    Amp500,
    /// The backend stores and never answers.
    AmpHang,
    /// The backend stores ten seconds later than it is asked to.
    AmpSlow,
    /// The backend refuses one metric and stores the rest.
    AmpRefusesOneSeries,
    /// The backend knows the credentials no more.
    #[value(name = "amp-403")]
    Amp403,
}

/// The metric of the sample app that the backend refuses.
pub(super) const REFUSED: &str = "test_gauge0";

const LATENCY: Duration = Duration::from_secs(10);
const SLOW_FAULT: Duration = Duration::from_secs(15);
/// As long as a sender gives an exporter: the fence of what was under way ends with
/// the fault.
const FAULT: Duration = Duration::from_secs(8);

// === impl Scenario ===

impl Scenario {
    /// Those that `--quick` runs.
    pub const QUICK: [Self; 3] = [Self::KillExporter, Self::Amp500, Self::AmpHang];

    /// All of them.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name, as it is given on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The metric that tells whether samples flow.
    pub fn flow(self) -> &'static str {
        match self {
            Self::KillGateway => otel::COUNTER,
            _ => SCRAPES,
        }
    }

    /// How long it is broken.
    pub fn duration(self) -> Duration {
        match self {
            Self::AmpSlow => SLOW_FAULT,
            _ => FAULT,
        }
    }

    /// Breaks it.
    ///
    /// # Errors
    /// Where a process is gone already or cannot be found.
    pub async fn begin(self, mesh: &mut Mesh) -> anyhow::Result<()> {
        if let Some(fault) = self.fault() {
            mesh.amp.backend().faults().always(Some(fault));
        }
        for service in self.victims(mesh).await? {
            service.kill().await?;
        }
        Ok(())
    }

    /// Mends it.
    ///
    /// # Errors
    /// Where a process does not start again.
    pub async fn end(self, mesh: &mut Mesh) -> anyhow::Result<()> {
        mesh.amp.backend().faults().always(None);
        let senders = mesh.receivers.iter_mut().chain([&mut mesh.gateway]);
        for service in senders.chain(&mut mesh.exporters) {
            if service.pid().is_none() {
                service.restart().await?;
            }
        }
        Ok(())
    }

    /// What the backend does.
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Amp429 => Some(Fault::throttle(1)),
            Self::Amp500 => Some(Fault::status(500, "told to fail")),
            Self::AmpHang => Some(Fault::StoreAndHang),
            Self::AmpSlow => Some(Fault::Slow(LATENCY)),
            Self::AmpRefusesOneSeries => Some(Fault::RefuseMetric(REFUSED.to_owned())),
            Self::Amp403 => Some(Fault::status(403, "the security token is invalid")),
            Self::KillExporter
            | Self::KillBothExporters
            | Self::KillGateway
            | Self::KillReceiver => None,
        }
    }

    /// Who is killed.
    async fn victims(self, mesh: &mut Mesh) -> anyhow::Result<&mut [Service]> {
        Ok(match self {
            Self::KillExporter => &mut mesh.exporters[..1],
            Self::KillBothExporters => &mut mesh.exporters,
            Self::KillGateway => from_mut(&mut mesh.gateway),
            Self::KillReceiver => from_mut(owner(mesh).await?),
            _ => &mut [],
        })
    }
}

/// The elected group's receiver that scrapes the target.
async fn owner(mesh: &mut Mesh) -> anyhow::Result<&mut Service> {
    let arrivals = mesh.amp.backend().arrivals();
    let first = arrivals
        .iter()
        .find(|arrival| arrivals::is_counter(arrival) && arrival.outcome == Outcome::Stored);
    let elected = first.map(arrivals::replica).context("nothing is stored")?;
    let prefix = format!("receiver-{elected}-");
    for receiver in &mut mesh.receivers {
        if receiver.name.starts_with(&prefix)
            && receiver
                .metrics()
                .await?
                .sum("promesh_receiver_scrapes_total")
                > 0.0
        {
            return Ok(receiver);
        }
    }
    anyhow::bail!("no receiver of group {elected} scrapes")
}
