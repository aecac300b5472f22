//! A running mesh.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::plan::Ports;
use crate::launcher::Service;

/// Maximum time until a service has stopped. A sender delivers its backlog meanwhile.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// Running services of a mesh. Dropping it ends them.
#[derive(Debug)]
pub struct Mesh<S> {
    /// Exporters.
    pub exporters: Vec<S>,
    /// Receivers, group after group.
    pub receivers: Vec<S>,
    /// Gateways.
    pub gateways: Vec<S>,
    pub(super) config_file: PathBuf,
    pub(super) folder: TempDir,
    pub(super) _reserved: Ports,
}

// === impl Mesh ===

impl<S> Mesh<S> {
    /// All services, in the order in which a sample passes them.
    pub fn all(&self) -> impl Iterator<Item = &S> {
        let senders = self.receivers.iter().chain(&self.gateways);
        senders.chain(&self.exporters)
    }

    /// Folder of the services' files. Processes log to `<name>.log` there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Configuration file that the services share.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }
}

impl<S: Service> Mesh<S> {
    /// Stops the receivers and the gateways, which deliver their backlogs first.
    ///
    /// # Errors
    /// Returns an error if a service fails, or does not stop in time.
    pub async fn stop_senders(&mut self) -> anyhow::Result<()> {
        for sender in self.receivers.iter_mut().chain(&mut self.gateways) {
            sender.stop(STOP_TIMEOUT).await?;
        }
        Ok(())
    }

    /// Stops all services, the exporters last.
    ///
    /// # Errors
    /// Returns an error if a service fails, or does not stop in time.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_senders().await?;
        for exporter in &mut self.exporters {
            exporter.stop(STOP_TIMEOUT).await?;
        }
        Ok(())
    }
}
