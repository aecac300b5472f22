//! The topology of a mesh: how many services it has, and what they are started with.
//!
//! ```text
//! Topology ──plan──▶ Plan (a ServiceSpec per service) ──Launcher──▶ Mesh (running services)
//! ```
//!
//! ```no_run
//! # use harness::{process::Processes, topology::{Config, RemoteWrite, Topology}};
//! # async fn start(amp: &stand_ins::amp::Amp, program: &std::path::Path) -> anyhow::Result<()> {
//! let config = Config::default()
//!     .interval("1s")
//!     .replica_labels()
//!     .jobs("- job_name: app\n  static_configs: [{targets: ['127.0.0.1:9100']}]\n")
//!     .remote_write(RemoteWrite::to(amp));
//! let mesh = Topology::new(config)
//!     .group("a", 2)
//!     .group("b", 2)
//!     .exporters(2)
//!     .gateways(1)
//!     .start(&Processes::new(program))
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod config;
mod mesh;
mod plan;

use std::path::{Path, PathBuf};

pub use self::{
    config::{Config, KeysIn, RemoteWrite},
    mesh::Mesh,
    plan::Plan,
};
use crate::{launcher::Launcher, spec::Role};

/// Value of the environment variable `CLUSTER` of all receivers in a replica group.
pub const CLUSTER: &str = "demo";

/// Builder of a mesh on 127.0.0.1. All services share one configuration file.
#[derive(Clone, Debug)]
pub struct Topology {
    config: ConfigFile,
    groups: Vec<Group>,
    exporters: usize,
    gateways: usize,
    /// Endpoints that receivers and gateways send to instead of the exporters of the mesh.
    endpoints: Option<String>,
    flags: Vec<(Role, String)>,
}

/// Configuration file of a topology.
#[derive(Clone, Debug)]
enum ConfigFile {
    /// The topology writes the file.
    New(Box<Config>),
    /// The file exists.
    At(PathBuf),
}

/// Receivers that share targets.
#[derive(Clone, Debug)]
struct Group {
    /// Replica name. `None` for a group without replica labels.
    replica: Option<String>,
    receivers: usize,
}

// === impl Topology ===

impl Topology {
    /// Returns a topology without services.
    pub fn new(config: Config) -> Self {
        Self::with(ConfigFile::New(Box::new(config)))
    }

    /// Returns a topology without services whose configuration file exists.
    pub fn with_config_file(path: &Path) -> Self {
        Self::with(ConfigFile::At(path.to_owned()))
    }

    fn with(config: ConfigFile) -> Self {
        Self {
            config,
            groups: Vec::new(),
            exporters: 0,
            gateways: 0,
            endpoints: None,
            flags: Vec::new(),
        }
    }

    /// Adds a replica group. Its receivers share the targets and get the environment
    /// variables `CLUSTER` and `REPLICA` (see [`Config::replica_labels`]).
    #[must_use]
    pub fn group(mut self, replica: &str, receivers: usize) -> Self {
        self.groups.push(Group {
            replica: Some(replica.to_owned()),
            receivers,
        });
        self
    }

    /// Adds receivers that belong to no replica group. Several of them share the targets.
    #[must_use]
    pub fn receivers(mut self, receivers: usize) -> Self {
        self.groups.push(Group {
            replica: None,
            receivers,
        });
        self
    }

    /// Sets the number of exporters.
    #[must_use]
    pub fn exporters(mut self, exporters: usize) -> Self {
        self.exporters = exporters;
        self
    }

    /// Sets the number of gateways. They are not members of a group: none accumulates deltas
    /// for another.
    #[must_use]
    pub fn gateways(mut self, gateways: usize) -> Self {
        self.gateways = gateways;
        self
    }

    /// Lets receivers and gateways send to these endpoints (`--exporter.endpoints`) instead
    /// of the exporters of the mesh.
    #[must_use]
    pub fn send_to(mut self, endpoints: &str) -> Self {
        self.endpoints = Some(endpoints.to_owned());
        self
    }

    /// Adds flags to all services of a role.
    #[must_use]
    pub fn flags(mut self, role: Role, flags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let flags = flags.into_iter().map(|flag| (role, flag.into()));
        self.flags.extend(flags);
        self
    }

    /// Reserves the ports, writes the configuration file and decides what each service is
    /// started with.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written or no port is free.
    pub fn plan<L: Launcher>(self) -> anyhow::Result<Plan> {
        Plan::new(self, L::HAS_ENVIRONMENT)
    }

    /// Starts all services: exporters first, then receivers and gateways.
    ///
    /// # Errors
    /// Returns an error if a service does not start.
    pub async fn start<L: Launcher>(self, launcher: &L) -> anyhow::Result<Mesh<L::Service>> {
        self.plan::<L>()?.start(launcher).await
    }
}
