//! A mesh of real processes. Each has its own address in 127.0.0.0/8, as pods have.
//!
//! The harness decides which pods exist, which pods see each other, and which links work.
//!
//! ```text
//! targets ◀── receivers ──link──▶ exporters ──link──▶ stand-in
//!                │    gateways ──link──▲
//!                └─ an API server for each pod: its view of the others
//! ```

mod changes;
mod flags;
mod net;
mod startup;
mod targets;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use mesh_base::clock::Clock;
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{
    clock,
    pod::Pod,
    proxy::Proxy,
    shape::{Second, Shape, Tier},
    views::{Endpoints, Propagation},
};
use stand_ins::{
    amp::{Amp, AmpOptions, Fault, Keys},
    sample_app::SampleApp,
};

pub(crate) use targets::APP;

/// A running mesh.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Stand-in for AMP.
    pub amp: Amp,
    /// Stand-in for a second destination.
    pub second: Option<Amp>,
    /// Scrape targets.
    pub targets: Vec<SampleApp>,
    /// All pods, including those that have ended.
    pub pods: Vec<Pod>,
    /// Size and settings of the mesh.
    pub shape: Shape,
    /// Source of all random choices.
    pub rng: StdRng,
    /// Address of the gateways' Kubernetes service.
    pub gateways: Proxy,
    /// Periods in which a pod could not scrape. Each ends when the pod is back, or when all
    /// others know that it is gone.
    pub absences: Vec<Period>,
    /// Periods in which a pod did not know of a change that all others knew of.
    pub stale_views: Vec<Period>,
    /// Changes of a replica group's members: group, and time in milliseconds since the Unix
    /// epoch. Changes that pods learn of together count as one.
    pub changes: Vec<(&'static str, i64)>,
    /// Changes of receivers' clocks.
    pub clock_steps: Vec<ClockStep>,
    /// End of the fault, in milliseconds since the Unix epoch.
    pub fault_end_ms: i64,
    program: PathBuf,
    folder: TempDir,
    /// Second byte of all addresses.
    net: u8,
    _reserved: TcpListener,
}

/// Period that affects one pod, in milliseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub(crate) struct Period {
    /// Name of the pod.
    pub pod: String,
    /// Start.
    pub from_ms: i64,
    /// End. `i64::MAX` while the period lasts.
    pub to_ms: i64,
}

/// A change of a receiver's clock.
#[derive(Clone, Debug)]
pub(crate) struct ClockStep {
    /// Name of the pod.
    pub pod: String,
    /// Time of the change, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Offset of the clock from then on, in milliseconds.
    pub offset_ms: i64,
}

/// gRPC port of every pod.
pub(crate) const GRPC: u16 = 14317;
/// HTTP port of every gateway.
pub(crate) const HTTP: u16 = 14318;
/// Admin port of every pod.
const WEB: u16 = 18080;
/// Port of every target.
const METRICS: u16 = 19100;
/// Third byte of the address of the gateways' service.
const SERVICE_NET: u8 = 3;

// === impl Cluster ===

impl Cluster {
    /// Starts a mesh.
    ///
    /// # Errors
    /// Returns an error with the end of the log if a process does not start.
    pub(crate) async fn start(shape: Shape, program: PathBuf, seed: u64) -> anyhow::Result<Self> {
        if shape.own_clocks {
            clock::library()?;
        }
        let (net, reserved) = net::reserve(seed).await?;
        let options = AmpOptions {
            max_sample_age: shape.max_sample_age,
            ..AmpOptions::default()
        };
        let second = match shape.second {
            Second::None => None,
            Second::Up | Second::Down => Some(Amp::start(options.clone()).await?),
        };
        let amp = Amp::start(AmpOptions {
            upstream: shape.upstream.clone(),
            ..options
        });
        let gateways = SocketAddr::from(([127, net, SERVICE_NET, 1], GRPC));
        net::wait_until_free(gateways).await?;
        let mut cluster = Self {
            amp: amp.await?,
            second,
            targets: Vec::new(),
            pods: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            gateways: Proxy::start(gateways, Vec::new())?,
            absences: Vec::new(),
            stale_views: Vec::new(),
            changes: Vec::new(),
            clock_steps: Vec::new(),
            fault_end_ms: 0,
            program,
            folder: tempfile::tempdir()?,
            net,
            _reserved: reserved,
            shape,
        };
        if cluster.shape.second == Second::Down {
            cluster.fail_second(Some(Fault::status(503, "unavailable")));
        }
        cluster.rotate_credentials(&Keys::example())?;
        for _ in 0..cluster.shape.targets {
            cluster.add_target().await?;
        }
        for (tier, pods) in cluster.shape.tiers() {
            for _ in 0..pods {
                let pod = cluster.add(tier).await?;
                cluster.pods[pod].listed = true;
            }
        }
        for (tier, _) in cluster.shape.tiers() {
            cluster.publish_as(tier, Some(Propagation::After(Duration::ZERO)));
        }
        Ok(cluster)
    }

    /// Makes the backend fail every request until [`Cluster::restore_backend`].
    pub(crate) fn fail_backend(&self, fault: Fault) {
        self.amp.backend().faults().always(Some(fault));
    }

    /// Makes the second destination fail every request; `None` ends that.
    pub(crate) fn fail_second(&self, fault: Option<Fault>) {
        if let Some(second) = &self.second {
            second.backend().faults().always(fault);
        }
    }

    /// Makes the backend unavailable (503), as a load balancer without targets is.
    pub(crate) fn stop_backend(&self) {
        self.fail_backend(Fault::status(503, "unavailable"));
    }

    /// Ends the backend's failure, and with it the fault of the scenario.
    pub(crate) fn restore_backend(&mut self) {
        self.amp.backend().faults().always(None);
        self.end_fault();
    }

    /// Records that the fault ends now.
    pub(crate) fn end_fault(&mut self) {
        self.fault_end_ms = Clock::system().now_ms();
    }

    /// Indexes of a tier's running pods.
    pub(crate) fn running(&self, tier: Tier) -> Vec<usize> {
        let all = self.pods.iter().enumerate();
        all.filter(|(_, pod)| pod.tier == tier && pod.is_running())
            .map(|(index, _)| index)
            .collect()
    }

    /// Index of a random running pod of a tier.
    ///
    /// # Errors
    /// Returns an error if no pod of the tier runs.
    pub(crate) fn pick(&mut self, tier: Tier) -> anyhow::Result<usize> {
        let all = self.running(tier);
        let one = all.choose(&mut self.rng).copied();
        one.with_context(|| format!("no pod of {}", tier.service()))
    }

    /// Number of flows: one per target and replica group, and one for the application that
    /// pushes.
    pub(crate) fn flows(&self) -> usize {
        self.targets.len() * self.shape.groups + 1
    }

    /// Keeps the services' logs and returns their path.
    pub(crate) fn keep_logs(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    fn endpoints(&self, tier: Tier) -> Endpoints<(u8, Ipv4Addr)> {
        let addresses = |is_it: fn(&Pod) -> bool| {
            let pods = self.pods.iter();
            let pods = pods.filter(|pod| pod.tier == tier && is_it(pod));
            pods.map(|pod| (pod.number, pod.ip)).collect()
        };
        Endpoints {
            ready: addresses(|pod| pod.listed),
            unready: addresses(|pod| !pod.listed && pod.exists()),
        }
    }
}
