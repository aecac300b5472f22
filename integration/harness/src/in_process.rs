//! Services inside this process, for tests.

use std::path::{Path, PathBuf};

use clap::Parser;
use mesh_base::shutdown::{self, Trigger};
use tokio::task::JoinHandle;

use stand_ins::amp::{Amp, Keys};

/// A service that runs. It is told to stop when it is dropped.
#[derive(Debug)]
pub struct Running<A> {
    /// Where it listens.
    pub addresses: A,
    trigger: Trigger,
    task: JoinHandle<anyhow::Result<()>>,
}

// === impl Running ===

impl<A> Running<A> {
    /// Tells it to stop and waits until it has.
    ///
    /// # Errors
    /// Where it ended with a failure.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.trigger.fire();
        self.task.await?
    }
}

/// Starts an exporter with these flags.
///
/// # Errors
/// Where it does not start.
pub async fn exporter(flags: &[String]) -> anyhow::Result<Running<exporter_svc::Addresses>> {
    let bound = exporter_svc::bind(exporter_svc::Args::try_parse_from(command(
        "exporter", flags,
    ))?)
    .await?;
    let (addresses, (trigger, shutdown)) = (bound.addresses, shutdown::channel());
    let task = tokio::spawn(async move { Ok(bound.run(shutdown).await?) });
    Ok(Running {
        addresses,
        trigger,
        task,
    })
}

/// Starts a receiver with these flags.
///
/// # Errors
/// Where it does not start.
pub async fn receiver(flags: &[String]) -> anyhow::Result<Running<receiver_svc::Addresses>> {
    let args = receiver_svc::Args::try_parse_from(command("receiver", flags))?;
    let bound = receiver_svc::bind(args).await?;
    let (addresses, (trigger, shutdown)) = (bound.addresses, shutdown::channel());
    let task = tokio::spawn(async move { Ok(bound.run(shutdown).await?) });
    Ok(Running {
        addresses,
        trigger,
        task,
    })
}

/// Starts a gateway with these flags.
///
/// # Errors
/// Where it does not start.
pub async fn gateway(flags: &[String]) -> anyhow::Result<Running<gateway::Addresses>> {
    let bound = gateway::bind(gateway::Args::try_parse_from(command("gateway", flags))?).await?;
    let (addresses, (trigger, shutdown)) = (bound.addresses, shutdown::channel());
    let task = tokio::spawn(async move { Ok(bound.run(shutdown).await?) });
    Ok(Running {
        addresses,
        trigger,
        task,
    })
}

/// Flags that let a service listen on loopback ports of its own.
pub fn own_ports(flags: &[&str]) -> Vec<String> {
    let ports = flags
        .iter()
        .map(|flag| format!("--{flag}.listen-address=127.0.0.1:0"));
    ports.collect()
}

/// Writes a configuration whose backend is the stand-in, and returns its path.
///
/// # Errors
/// Where it cannot be written.
pub fn write_config(folder: &Path, rest: &str, amp: &Amp) -> anyhow::Result<PathBuf> {
    let keys = Keys::example();
    let config = format!(
        "{rest}\nremote_write:\n- url: {}\n  sigv4: {{region: {}, access_key: {}, secret_key: {}}}\n",
        amp.remote_write_url(),
        keys.region,
        keys.access_key,
        keys.secret_key,
    );
    let path = folder.join("prometheus.yml");
    std::fs::write(&path, config)?;
    Ok(path)
}

fn command(name: &str, flags: &[String]) -> Vec<String> {
    std::iter::once(name.to_owned())
        .chain(flags.iter().cloned())
        .collect()
}
