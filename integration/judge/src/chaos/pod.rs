//! One pod: a process with an address of its own, and what it sees of the others.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mesh_base::clock::Clock;

use super::{
    proxy::Proxy,
    shape::Tier,
    views::{Endpoints, Sight, View},
};
use harness::child::Service;

/// A pod.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Its number among all pods there ever were.
    pub number: u8,
    /// Its tier.
    pub tier: Tier,
    /// Its address.
    pub ip: Ipv4Addr,
    /// The process.
    pub service: Service,
    /// What it sees, where it needs to see anything.
    pub view: Option<View>,
    /// How soon it sees changes; by chance where it is not given.
    pub sight: Option<Sight>,
    /// Its links to exporters, by their numbers, or an exporter's to the backend.
    pub links: BTreeMap<u8, Proxy>,
    /// Whether it is an endpoint of its service.
    pub listed: bool,
    /// Its processes, one after the other.
    pub lives: Vec<Life>,
    /// The most memory that any of its processes had resident, in bytes.
    pub peak_memory: u64,
}

/// The life of one process, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    /// When it had started.
    pub began_ms: i64,
    /// When it was killed.
    pub killed_ms: Option<i64>,
    /// When it was told to stop.
    pub stopped_ms: Option<i64>,
}

// === impl Pod ===

impl Pod {
    /// Whether its process runs.
    pub(crate) fn runs(&self) -> bool {
        self.service.pid().is_some()
    }

    /// Whether it is there, be it that its process is to start again.
    pub(crate) fn is_there(&self) -> bool {
        let is_told = |life: &Life| life.stopped_ms.is_some();
        self.runs() || !self.lives.last().is_some_and(is_told)
    }

    /// Whether it sends to exporters.
    pub(crate) fn is_sender(&self) -> bool {
        self.tier != Tier::Exporter
    }

    /// Tells it who stands behind a service; exporters at the ends of its links.
    pub(crate) fn tell(
        &self,
        tier: Tier,
        endpoints: &Endpoints<(u8, Ipv4Addr)>,
        sight: Sight,
    ) -> Option<i64> {
        let sight = self.sight.unwrap_or(sight);
        let links = &self.links;
        let seen = |(number, ip): &(u8, Ipv4Addr)| -> Option<IpAddr> {
            match tier {
                Tier::Exporter => Some(links.get(number)?.address().ip()),
                _ => Some(IpAddr::V4(*ip)),
            }
        };
        let view = self.view.as_ref()?;
        view.tell(&tier.service(), &endpoints.seen(seen), sight)
    }

    /// Cuts all its links, or mends them.
    pub(crate) fn cut(&self, cut: bool) {
        for link in self.links.values() {
            if cut { link.cut() } else { link.mend() }
        }
    }

    /// Kills its process (SIGKILL).
    ///
    /// # Errors
    /// Where it has ended already.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.note_memory();
        self.service.kill().await?;
        if let Some(life) = self.lives.last_mut() {
            life.killed_ms = Some(Clock::system().now_ms());
        }
        Ok(())
    }

    /// Starts its process again after it has ended.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.service.restart().await?;
        self.lives.push(Life::begin());
        Ok(())
    }

    /// Tells its process to stop, and waits until it has.
    ///
    /// # Errors
    /// Where it does not stop in time or with a failure.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if !self.runs() {
            return Ok(());
        }
        self.note_memory();
        if let Some(life) = self.lives.last_mut() {
            life.stopped_ms = Some(Clock::system().now_ms());
        }
        self.service.stop(super::DRAIN).await
    }

    /// Notes how much memory its process has had.
    pub(crate) fn note_memory(&mut self) {
        let peak = self.service.peak_memory().unwrap_or_default();
        self.peak_memory = self.peak_memory.max(peak);
    }

    /// Where it listens on a port.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip, port))
    }
}

// === impl Life ===

impl Life {
    /// A life that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            began_ms: Clock::system().now_ms(),
            ..Self::default()
        }
    }
}
