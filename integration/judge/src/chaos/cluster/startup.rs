//! Start of a pod: address, links, view of the others, and process.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{Cluster, GRPC};
use crate::chaos::{
    pod::{Lifetime, Pod},
    proxy::Proxy,
    shape::Tier,
    views::{Propagation, View},
};
use harness::{launcher::Launcher, process::Processes};

/// Third byte of the pods' addresses.
const POD_NET: u8 = 1;
/// Third byte of the links of pod 0. Each other pod adds its number.
const LINK_NET: u8 = 100;
/// Fourth byte of an exporter's link to the backend, which is not a pod.
pub(super) const TO_BACKEND: u8 = 0;

// === impl Cluster ===

impl Cluster {
    /// Starts a pod that is not an endpoint yet. Returns its index.
    ///
    /// # Errors
    /// Returns an error with the end of the log if the pod does not start.
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
            for exporter in self.running(Tier::Exporter) {
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
        let spec = self.spec(tier, &name, ip, &folder, &kubeconfig);
        let launcher = Processes::new(&self.program);
        let pod = Pod {
            number,
            tier,
            ip,
            service: launcher.launch(&spec, self.folder.path()).await?,
            view,
            propagation: None,
            links,
            listed: false,
            lifetimes: vec![Lifetime::begin()],
            peak_memory: 0,
        };
        for (other, _) in self.shape.tiers() {
            if tier.watches(other) {
                pod.update_view(
                    other,
                    &self.endpoints(other),
                    Propagation::After(Duration::ZERO),
                );
            }
        }
        self.pods.push(pod);
        Ok(self.pods.len() - 1)
    }

    /// Creates a link from pod `from`. Returns it with its address.
    fn link(&self, from: u8, to: u8, server: SocketAddr) -> anyhow::Result<(Proxy, SocketAddr)> {
        let at = SocketAddr::from(([127, self.net, LINK_NET + from, to], GRPC));
        Ok((Proxy::start(at, vec![server])?, at))
    }

    /// Links all running senders to a new exporter.
    fn link_senders(&mut self, exporter: u8, ip: Ipv4Addr) -> anyhow::Result<()> {
        for index in 0..self.pods.len() {
            if self.pods[index].is_sender() {
                let from = self.pods[index].number;
                let (link, _) = self.link(from, exporter, SocketAddr::from((ip, GRPC)))?;
                self.pods[index].links.insert(exporter, link);
            }
        }
        Ok(())
    }
}
