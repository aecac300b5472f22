//! A pod: a process with its own address, and its view of the other pods.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use mesh_base::clock::Clock;

use super::{
    proxy::Proxy,
    shape::Tier,
    views::{Endpoints, Propagation, View},
};
use harness::process::Process;

/// A pod.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Number of the pod. Numbers are not reused.
    pub number: u8,
    /// Tier.
    pub tier: Tier,
    /// Address.
    pub ip: Ipv4Addr,
    /// Process.
    pub service: Process,
    /// Source of the endpoints that it sees. `None` if it needs none.
    pub view: Option<View>,
    /// Delay until it learns of changes. `None` for a random delay.
    pub propagation: Option<Propagation>,
    /// Links to exporters by their pod numbers, or an exporter's link to the backend.
    pub links: BTreeMap<u8, Proxy>,
    /// Set if the pod is a ready endpoint of its service.
    pub listed: bool,
    /// Lifetimes of its processes, in order.
    pub lifetimes: Vec<Lifetime>,
    /// Maximum resident memory of its processes, in bytes.
    pub peak_memory: u64,
}

/// Lifetime of one process, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifetime {
    /// Time of the start.
    pub started_ms: i64,
    /// Time of the SIGKILL.
    pub killed_ms: Option<i64>,
    /// Time of the SIGTERM.
    pub stopped_ms: Option<i64>,
}

/// Maximum time that a service may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(75);

// === impl Pod ===

impl Pod {
    /// Returns `true` while the process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.service.pid().is_some()
    }

    /// Returns `true` while the pod exists. Its process may be about to restart.
    pub(crate) fn exists(&self) -> bool {
        let is_stopped = |lifetime: &Lifetime| lifetime.stopped_ms.is_some();
        self.is_running() || !self.lifetimes.last().is_some_and(is_stopped)
    }

    /// Returns `true` if it sends to exporters.
    pub(crate) fn is_sender(&self) -> bool {
        self.tier != Tier::Exporter
    }

    /// Sends it the endpoints of a service, after a delay. Exporters appear at the
    /// addresses of its links. Returns the time at which it learns of them.
    pub(crate) fn update_view(
        &self,
        tier: Tier,
        endpoints: &Endpoints<(u8, Ipv4Addr)>,
        propagation: Propagation,
    ) -> Option<i64> {
        let propagation = self.propagation.unwrap_or(propagation);
        let links = &self.links;
        let seen = |(number, ip): &(u8, Ipv4Addr)| -> Option<IpAddr> {
            match tier {
                Tier::Exporter => Some(links.get(number)?.address().ip()),
                _ => Some(IpAddr::V4(*ip)),
            }
        };
        let view = self.view.as_ref()?;
        view.update(&tier.service(), &endpoints.seen(seen), propagation)
    }

    /// Cuts or restores all its links.
    pub(crate) fn cut(&self, cut: bool) {
        for link in self.links.values() {
            if cut { link.cut() } else { link.restore() }
        }
    }

    /// Kills its process (SIGKILL).
    ///
    /// # Errors
    /// Returns an error if the process has already ended.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.record_memory();
        self.service.kill().await?;
        if let Some(lifetime) = self.lifetimes.last_mut() {
            lifetime.killed_ms = Some(Clock::system().now_ms());
        }
        Ok(())
    }

    /// Restarts its process.
    ///
    /// # Errors
    /// Returns an error if the process does not start.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.service.restart().await?;
        self.lifetimes.push(Lifetime::begin());
        Ok(())
    }

    /// Stops its process (SIGTERM) and waits until it has ended.
    ///
    /// # Errors
    /// Returns an error if the process does not stop in time, or stops with a failure.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        self.record_memory();
        if let Some(lifetime) = self.lifetimes.last_mut() {
            lifetime.stopped_ms = Some(Clock::system().now_ms());
        }
        self.service.stop(STOP_TIMEOUT).await
    }

    /// Records the peak memory of its process.
    pub(crate) fn record_memory(&mut self) {
        let peak = self.service.peak_memory().unwrap_or_default();
        self.peak_memory = self.peak_memory.max(peak);
    }

    /// Address with a port.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip, port))
    }
}

// === impl Lifetime ===

impl Lifetime {
    /// Begins a lifetime now.
    pub(crate) fn begin() -> Self {
        Self {
            started_ms: Clock::system().now_ms(),
            ..Self::default()
        }
    }
}
