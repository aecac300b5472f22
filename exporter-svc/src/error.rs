//! Errors of the exporter as a service.

use std::path::PathBuf;

use mesh_contract::{ha::HaError, report::MAX_DESTINATIONS};
use mesh_model::config::ConfigError;
use mesh_net::{listen::ListenAddress, server::ServerTlsError};
use tokio::task::JoinError;

use crate::destination::DestinationError;

/// Error that prevents the exporter from starting or makes it stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An entry of `remote_write` is invalid.
    #[error("{}: {source}", .file.display())]
    Destination {
        /// Path of the configuration file.
        file: PathBuf,
        /// Error of the entry.
        source: DestinationError,
    },
    /// The configuration file has no `remote_write` entry.
    #[error("{}: no remote_write section; add at least one destination", .0.display())]
    NoDestination(PathBuf),
    /// The configuration file has too many `remote_write` entries.
    #[error(
        "{}: {found} remote_write entries, {MAX_DESTINATIONS} are allowed; senders keep a backlog \
         for each",
        .file.display()
    )]
    TooManyDestinations {
        /// Path of the configuration file.
        file: PathBuf,
        /// Number of entries.
        found: usize,
    },
    /// The external labels do not form a valid HA pair.
    #[error("{}: {source}", .file.display())]
    Ha {
        /// Path of the configuration file.
        file: PathBuf,
        /// Error of the HA labels.
        source: HaError,
    },
    /// The exporter cannot listen on an address.
    #[error("{flag}={address}: {source}")]
    Listen {
        /// Flag that sets the address.
        flag: &'static str,
        /// Address that the flag gives.
        address: ListenAddress,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The server certificate, its key or the client CA file is invalid.
    #[error("--grpc.tls.*: {0}")]
    Tls(#[from] ServerTlsError),
    /// The server of the admin port failed.
    #[error("admin port: {0}")]
    Admin(#[source] JoinError),
}
