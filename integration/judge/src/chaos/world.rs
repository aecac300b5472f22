//! A mesh of real processes, each with an address of its own in 127.0.0.0/8, as pods
//! have: it is always the harness that decides who is there, who sees whom, and
//! which links work.
//!
//! ```text
//! targets ◀── receivers ──link──▶ exporters ──link──▶ stand-in
//!                │    gateways ──link──▲
//!                └─ each with an API server of its own: what it sees
//! ```

mod birth;
mod changes;
mod flags;
mod net;
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
    shape::{Shape, Tier},
    views::{Endpoints, Sight},
};
use stand_ins::{amp::{Amp, AmpOptions, Fault, Keys}, sample_app::SampleApp};

/// A mesh.
#[derive(Debug)]
pub(crate) struct World {
    /// The backend.
    pub amp: Amp,
    /// What is scraped.
    pub targets: Vec<SampleApp>,
    /// All pods there ever were.
    pub pods: Vec<Pod>,
    /// What the mesh was started as.
    pub shape: Shape,
    /// What everything that is left to chance follows from.
    pub rng: StdRng,
    /// The gateways' service.
    pub gateways: Proxy,
    /// When a pod could not scrape, until it was back or all others knew.
    pub absences: Vec<Spell>,
    /// When a pod did not know of a change that all others knew of.
    pub unaware: Vec<Spell>,
    /// When the members of a replica group changed, in milliseconds since the Unix
    /// epoch; what is told together is one change.
    pub changes: Vec<(&'static str, i64)>,
    /// What receivers' clocks were set to.
    pub clock_steps: Vec<ClockStep>,
    /// When the fault was over, in milliseconds since the Unix epoch.
    pub over_ms: i64,
    program: PathBuf,
    folder: TempDir,
    /// The second byte of all addresses.
    net: u8,
    _reserved: TcpListener,
}

/// A time in which something was the matter with a pod, in milliseconds since the
/// Unix epoch.
#[derive(Clone, Debug)]
pub(crate) struct Spell {
    /// The pod's name.
    pub pod: String,
    /// When it began.
    pub from_ms: i64,
    /// When it was over.
    pub to_ms: i64,
}

/// A receiver's clock was set.
#[derive(Clone, Debug)]
pub(crate) struct ClockStep {
    /// The pod's name.
    pub pod: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// By how many milliseconds it is wrong since then.
    pub wrong_ms: i64,
}

/// Where every pod's gRPC is.
pub(crate) const GRPC: u16 = 14317;
/// Where every gateway's HTTP is.
const HTTP: u16 = 14318;
/// Where every pod's admin port is.
const WEB: u16 = 18080;
/// Where every target is.
const METRICS: u16 = 19100;
/// The third byte of the gateways' service's address.
const SERVICE_NET: u8 = 3;

// === impl World ===

impl World {
    /// Starts everything.
    ///
    /// # Errors
    /// Where a part does not start, with the end of its log.
    pub(crate) async fn start(shape: Shape, program: PathBuf, seed: u64) -> anyhow::Result<Self> {
        if shape.own_clocks {
            clock::library()?;
        }
        let (net, reserved) = net::reserve(seed).await?;
        let amp = Amp::start(AmpOptions {
            max_sample_age: shape.max_sample_age,
            upstream: shape.upstream.clone(),
            ..AmpOptions::default()
        });
        let gateways = SocketAddr::from(([127, net, SERVICE_NET, 1], GRPC));
        net::free(gateways).await?;
        let mut world = Self {
            amp: amp.await?,
            targets: Vec::new(),
            pods: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            gateways: Proxy::start(gateways, Vec::new())?,
            absences: Vec::new(),
            unaware: Vec::new(),
            changes: Vec::new(),
            clock_steps: Vec::new(),
            over_ms: 0,
            program,
            folder: tempfile::tempdir()?,
            net,
            _reserved: reserved,
            shape,
        };
        world.rotate_credentials(&Keys::example())?;
        for _ in 0..world.shape.targets {
            world.add_target().await?;
        }
        for (tier, pods) in world.shape.tiers() {
            for _ in 0..pods {
                let pod = world.add(tier).await?;
                world.pods[pod].listed = true;
            }
        }
        for (tier, _) in world.shape.tiers() {
            world.publish_as(tier, Some(Sight::After(Duration::ZERO)));
        }
        Ok(world)
    }

    /// Lets the backend fail like this, whatever it is asked, until it is healed.
    pub(crate) fn fail_backend(&self, fault: Fault) {
        self.amp.backend().faults().always(Some(fault));
    }

    /// Lets the backend be away, as a load balancer tells it.
    pub(crate) fn lose_backend(&self) {
        self.fail_backend(Fault::status(503, "told to fail"));
    }

    /// Lets the backend be well, and so all be mended.
    pub(crate) fn heal_backend(&mut self) {
        self.amp.backend().faults().always(None);
        self.mended();
    }

    /// Notes that what was broken is mended by now.
    pub(crate) fn mended(&mut self) {
        self.over_ms = Clock::system().now_ms();
    }

    /// The pods of a tier that run, by their places.
    pub(crate) fn of(&self, tier: Tier) -> Vec<usize> {
        let all = self.pods.iter().enumerate();
        all.filter(|(_, pod)| pod.tier == tier && pod.runs())
            .map(|(place, _)| place)
            .collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn any(&mut self, tier: Tier) -> anyhow::Result<usize> {
        let all = self.of(tier);
        let one = all.choose(&mut self.rng).copied();
        one.with_context(|| format!("no pod of {}", tier.service()))
    }

    /// How many targets of groups there are, and the application that pushes.
    pub(crate) fn flows(&self) -> usize {
        self.targets.len() * self.shape.groups + 1
    }

    /// Keeps the services' logs, and says where.
    pub(crate) fn keep(mut self) -> PathBuf {
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
            unready: addresses(|pod| !pod.listed && pod.is_there()),
        }
    }
}
