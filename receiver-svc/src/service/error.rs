//! Errors of the receiver as a service.

use std::path::PathBuf;

use mesh_contract::ha::HaError;
use mesh_kubernetes::endpoints::StartError;
use mesh_model::config::ConfigError;
use mesh_net::{listen::ListenAddress, tls::TlsError};
use tokio::task::JoinError;

use crate::{discovery::DiscoveryError, scrape::JobError, shard::PeeringError};

/// The receiver could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The TLS files for exporters cannot be used.
    #[error("--exporter.tls.*: {0}")]
    ExporterTls(#[from] TlsError),
    /// The configuration is valid, and cannot be applied.
    #[error("{}: {source}", .file.display())]
    Apply {
        /// Path of the configuration file.
        file: PathBuf,
        /// Cause.
        source: ApplyError,
    },
    /// The admin port, or the port for other receivers, cannot be listened on.
    #[error("{flag}={address}: {source}")]
    Listen {
        /// Flag that names the address.
        flag: &'static str,
        /// Configured address.
        address: ListenAddress,
        /// Cause.
        source: std::io::Error,
    },
    /// Exporters or members cannot be discovered.
    #[error("{flag}: {source}")]
    Endpoints {
        /// Flag that names the exporters or members.
        flag: &'static str,
        /// Cause.
        source: StartError,
    },
    /// The port for other receivers cannot be secured.
    #[error(transparent)]
    Peering(#[from] PeeringError),
    /// The server of the admin port failed.
    #[error("admin port: {0}")]
    Serve(#[source] JoinError),
}

/// A valid configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The external labels do not describe an HA replica.
    #[error(transparent)]
    Ha(#[from] HaError),
    /// A job cannot be prepared.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A discovery mechanism cannot be started.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}
