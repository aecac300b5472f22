//! Services inside this process, for tests that need no kill and no environment.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use mesh_base::shutdown::{self, Shutdown, Trigger};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    launcher::{Launcher, Service},
    spec::{Addresses, Role, ServiceSpec},
};

/// Starts each service inside this process.
#[derive(Clone, Copy, Debug)]
pub struct InProcess;

/// A service that runs inside this process. Dropping it stops the service.
#[derive(Debug)]
pub struct Running {
    /// Addresses that the service listens on.
    pub addresses: Addresses,
    /// `None` once the service has been stopped.
    task: Option<(Trigger, JoinHandle<anyhow::Result<()>>)>,
}

// === impl InProcess ===

impl Launcher for InProcess {
    type Service = Running;

    const HAS_ENVIRONMENT: bool = false;

    async fn launch(&self, spec: &ServiceSpec, _folder: &Path) -> anyhow::Result<Running> {
        ensure!(
            spec.environment.is_empty() && spec.wrapper.is_empty(),
            "{}: a service inside this process has no environment and no wrapper",
            spec.name
        );
        let name = spec.role.subcommand().to_owned();
        let command = std::iter::once(name).chain(spec.arguments());
        let (trigger, shutdown) = shutdown::channel();
        let (addresses, task) = match spec.role {
            Role::Receiver => receiver(command, shutdown).await?,
            Role::Exporter => exporter(command, shutdown).await?,
            Role::Gateway => gateway(command, shutdown).await?,
        };
        Ok(Running {
            addresses,
            task: Some((trigger, task)),
        })
    }
}

type Started = (Addresses, JoinHandle<anyhow::Result<()>>);

async fn receiver(
    command: impl Iterator<Item = String>,
    shutdown: Shutdown,
) -> anyhow::Result<Started> {
    let bound = receiver_svc::bind(receiver_svc::Args::try_parse_from(command)?).await?;
    let addresses = bound.addresses.into();
    let task = tokio::spawn(async move { Ok(bound.run(shutdown).await?) });
    Ok((addresses, task))
}

async fn exporter(
    command: impl Iterator<Item = String>,
    shutdown: Shutdown,
) -> anyhow::Result<Started> {
    let bound = exporter_svc::bind(exporter_svc::Args::try_parse_from(command)?).await?;
    let addresses = bound.addresses.into();
    let task = tokio::spawn(async move { Ok(bound.run(shutdown).await?) });
    Ok((addresses, task))
}

async fn gateway(
    command: impl Iterator<Item = String>,
    shutdown: Shutdown,
) -> anyhow::Result<Started> {
    let bound = gateway::bind(gateway::Args::try_parse_from(command)?).await?;
    let addresses = bound.addresses.into();
    let task = tokio::spawn(async move { Ok(bound.run(shutdown).await?) });
    Ok((addresses, task))
}

// === impl Running ===

impl Service for Running {
    async fn stop(&mut self, limit: Duration) -> anyhow::Result<()> {
        let Some((trigger, task)) = self.task.take() else {
            return Ok(());
        };
        trigger.fire();
        let ended = timeout(limit, task).await;
        ended.with_context(|| format!("a service did not stop within {limit:?}"))??
    }

    fn addresses(&self) -> Addresses {
        self.addresses
    }
}
