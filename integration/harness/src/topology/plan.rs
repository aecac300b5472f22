//! The plan of a mesh: a specification of each service, before anything is started.

use std::path::{Path, PathBuf};

use anyhow::Context;
use stand_ins::ports::reserve;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::{CLUSTER, ConfigFile, KeysIn, Mesh, Topology, config::Config};
use crate::launcher::Launcher;
use crate::spec::{Addresses, Role, ServiceSpec};

/// Name of the configuration file.
const CONFIG_FILE: &str = "prometheus.yml";

/// Services that are not started yet. All their ports are reserved, so that they know each
/// other's addresses. A caller may change each specification, or launch services one by one.
#[derive(Debug)]
pub struct Plan {
    /// Exporters.
    pub exporters: Vec<ServiceSpec>,
    /// Receivers, group after group.
    pub receivers: Vec<ServiceSpec>,
    /// Gateways.
    pub gateways: Vec<ServiceSpec>,
    config_file: PathBuf,
    folder: TempDir,
    reserved: Ports,
}

/// Reserved ports of 127.0.0.1. A service that is down keeps its port.
#[derive(Debug, Default)]
pub(super) struct Ports(Vec<TcpSocket>);

// === impl Plan ===

impl Plan {
    pub(super) fn new(topology: Topology, has_environment: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys_in = if has_environment {
            KeysIn::Environment
        } else {
            KeysIn::File
        };
        let (config_file, config) = match &topology.config {
            ConfigFile::New(config) => (folder.path().join(CONFIG_FILE), Some(&**config)),
            ConfigFile::At(path) => (path.clone(), None),
        };
        if let Some(config) = config {
            config.write(&config_file, keys_in)?;
        }
        let mut plan = Self {
            exporters: Vec::new(),
            receivers: Vec::new(),
            gateways: Vec::new(),
            config_file,
            folder,
            reserved: Ports::default(),
        };
        plan.add_exporters(&topology, config.filter(|_| has_environment))?;
        let endpoints = match &topology.endpoints {
            Some(endpoints) => endpoints.clone(),
            None => plan.endpoints()?,
        };
        plan.add_receivers(&topology, &endpoints)?;
        plan.add_gateways(&topology, &endpoints)?;
        for (role, flag) in topology.flags {
            for spec in plan.of(role) {
                spec.flags.push(flag.clone());
            }
        }
        Ok(plan)
    }

    /// Adds the exporters. `config` names the keys that go to their environment.
    fn add_exporters(
        &mut self,
        topology: &Topology,
        config: Option<&Config>,
    ) -> anyhow::Result<()> {
        for n in 0..topology.exporters {
            let addresses = self.reserved.grpc_and_web()?;
            let name = format!("exporter-{n}");
            let mut exporter = ServiceSpec::exporter(&name, addresses, &self.config_file);
            if let Some(keys) = config.and_then(Config::keys) {
                exporter = exporter
                    .env("AWS_ACCESS_KEY_ID", &keys.access_key)
                    .env("AWS_SECRET_ACCESS_KEY", &keys.secret_key)
                    .env("AWS_EC2_METADATA_DISABLED", "true");
            }
            self.exporters.push(exporter);
        }
        Ok(())
    }

    fn add_receivers(&mut self, topology: &Topology, endpoints: &str) -> anyhow::Result<()> {
        for group in &topology.groups {
            let addresses = (0..group.receivers).map(|_| self.reserved.grpc_and_web());
            let addresses: Vec<_> = addresses.collect::<anyhow::Result<_>>()?;
            let members = addresses.iter().filter_map(|address| address.grpc);
            let members = members.map(|address| address.to_string());
            let members = members.collect::<Vec<_>>().join(",");
            let prefix = match &group.replica {
                Some(replica) => format!("receiver-{replica}"),
                None => "receiver".to_owned(),
            };
            for (n, addresses) in addresses.into_iter().enumerate() {
                let name = format!("{prefix}-{n}");
                let mut receiver =
                    ServiceSpec::receiver(&name, addresses, &self.config_file, endpoints);
                // A receiver without a group has nobody to share its targets with.
                if group.replica.is_some() || group.receivers > 1 {
                    receiver = receiver.member_of(&members);
                }
                if let Some(replica) = &group.replica {
                    receiver = receiver.env("CLUSTER", CLUSTER).env("REPLICA", replica);
                }
                self.receivers.push(receiver);
            }
        }
        Ok(())
    }

    fn add_gateways(&mut self, topology: &Topology, endpoints: &str) -> anyhow::Result<()> {
        for n in 0..topology.gateways {
            let addresses = Addresses {
                http: Some(self.reserved.next()?),
                ..self.reserved.grpc_and_web()?
            };
            let name = format!("gateway-{n}");
            self.gateways
                .push(ServiceSpec::gateway(&name, addresses, endpoints));
        }
        Ok(())
    }

    /// gRPC addresses of the exporters, as `--exporter.endpoints` takes them.
    fn endpoints(&self) -> anyhow::Result<String> {
        let addresses = self.exporters.iter().map(|exporter| {
            let address = exporter.addresses.grpc()?;
            anyhow::Ok(address.to_string())
        });
        Ok(addresses.collect::<anyhow::Result<Vec<_>>>()?.join(","))
    }

    fn of(&mut self, role: Role) -> &mut Vec<ServiceSpec> {
        match role {
            Role::Receiver => &mut self.receivers,
            Role::Exporter => &mut self.exporters,
            Role::Gateway => &mut self.gateways,
        }
    }

    /// Folder of the services' files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts all services: exporters first, then receivers and gateways.
    ///
    /// # Errors
    /// Returns an error if a service does not start.
    pub async fn start<L: Launcher>(self, launcher: &L) -> anyhow::Result<Mesh<L::Service>> {
        let mut running = [Vec::new(), Vec::new(), Vec::new()];
        let tiers = [&self.exporters, &self.receivers, &self.gateways];
        for (specs, running) in tiers.into_iter().zip(&mut running) {
            for spec in specs {
                running.push(launcher.launch(spec, self.folder.path()).await?);
            }
        }
        let [exporters, receivers, gateways] = running;
        Ok(Mesh {
            exporters,
            receivers,
            gateways,
            config_file: self.config_file,
            folder: self.folder,
            _reserved: self.reserved,
        })
    }
}

// === impl Ports ===

impl Ports {
    fn next(&mut self) -> anyhow::Result<std::net::SocketAddr> {
        let socket = reserve(([127, 0, 0, 1], 0).into()).context("no free port of 127.0.0.1")?;
        let address = socket.local_addr()?;
        self.0.push(socket);
        Ok(address)
    }

    fn web(&mut self) -> anyhow::Result<Addresses> {
        Ok(Addresses::web(self.next()?))
    }

    fn grpc_and_web(&mut self) -> anyhow::Result<Addresses> {
        Ok(Addresses {
            grpc: Some(self.next()?),
            ..self.web()?
        })
    }
}
