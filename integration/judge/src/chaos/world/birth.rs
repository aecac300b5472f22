//! How a pod comes to be: its address, its links, what it sees, its process.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{GRPC, World};
use crate::chaos::{ pod::{Life, Pod}, proxy::Proxy, shape::Tier, views::{Sight, View}, };
use harness::child::Service;

/// The third byte of pods' addresses.
const POD_NET: u8 = 1;
/// The third byte of the links of pod 0; those of others are that much higher.
const LINK_NET: u8 = 100;
/// The fourth byte of an exporter's link to the backend, which is no pod.
const TO_BACKEND: u8 = 0;

// === impl World ===

impl World {
    /// Starts a pod, which is no endpoint yet, and returns its place among the pods.
    ///
    /// # Errors
    /// Where it does not start, with the end of its log.
    pub(crate) async fn add(&mut self, tier: Tier) -> anyhow::Result<usize> {
        let number = u8::try_from(self.pods.len() + 1)?;
        let ip = Ipv4Addr::new(127, self.net, POD_NET, number);
        let name = format!("{}-{number}", tier.service());
        let folder = self.folder.path().join(&name);
        std::fs::create_dir_all(&folder)?;
        let mut links = BTreeMap::new();
        let mut view = None;
        if tier == Tier::Exporter {
            let (link, at) = self.link(number, TO_BACKEND, self.amp.address())?;
            links.insert(TO_BACKEND, link);
            self.write_exporter_config(&folder, at)?;
            self.link_senders(number, ip)?;
        } else {
            for exporter in self.of(Tier::Exporter) {
                let to = self.pods[exporter].number;
                let (link, _) = self.link(number, to, self.pods[exporter].at(GRPC))?;
                links.insert(to, link);
            }
            view = Some(View::start(folder.clone()).await?);
        }
        if let Tier::Receiver(_) = tier {
            self.write_receiver_config(&folder, &name)?;
        }
        let kubeconfig = view.as_ref().map(View::kubeconfig).unwrap_or_default();
        let (program, arguments) = self.command(tier, ip, &folder);
        let environment = self.environment(tier, &kubeconfig, &folder);
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let pod = Pod {
            number,
            tier,
            ip,
            service: Service::start(
                &program,
                &name,
                &arguments,
                &environment,
                self.folder.path(),
            )
            .await?,
            view,
            sight: None,
            links,
            listed: false,
            lives: vec![Life::begin()],
            peak_memory: 0,
        };
        for (other, _) in self.shape.tiers() {
            if tier.knows(other) {
                pod.tell(other, &self.endpoints(other), Sight::After(Duration::ZERO));
            }
        }
        self.pods.push(pod);
        Ok(self.pods.len() - 1)
    }

    /// A link of pod `from`, and where its end is.
    fn link(&self, from: u8, to: u8, server: SocketAddr) -> anyhow::Result<(Proxy, SocketAddr)> {
        let at = SocketAddr::from(([127, self.net, LINK_NET + from, to], GRPC));
        Ok((Proxy::start(at, vec![server])?, at))
    }

    /// Links all senders there are to a new exporter.
    fn link_senders(&mut self, exporter: u8, ip: Ipv4Addr) -> anyhow::Result<()> {
        for place in 0..self.pods.len() {
            if self.pods[place].is_sender() {
                let from = self.pods[place].number;
                let (link, _) = self.link(from, exporter, SocketAddr::from((ip, GRPC)))?;
                self.pods[place].links.insert(exporter, link);
            }
        }
        Ok(())
    }
}
