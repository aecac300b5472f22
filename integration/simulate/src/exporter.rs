//! The host of an exporter: exporter-svc on the simulated network.

use std::{path::PathBuf, sync::Arc};

use clap::Parser;
use exporter_svc::{Addresses, Args, Environment, bind_with};

use super::{net, processes::Processes};

/// OTLP/gRPC port of an exporter.
pub(super) const PORT: u16 = 4317;

const ADMIN_PORT: u16 = 8080;

/// Runs an exporter until shutdown.
pub(super) async fn run(
    processes: Arc<Processes>,
    name: String,
    config: PathBuf,
) -> turmoil::Result {
    let config = format!("--config.file={}", config.display());
    let args = Args::try_parse_from(["exporter-svc", &config, "--remote-write.allow-http"])?;
    let environment = Environment {
        grpc: net::Listener::bind(PORT).await?,
        web: net::Listener::bind(ADMIN_PORT).await?,
        addresses: Addresses {
            grpc: net::any_address(PORT),
            web: net::any_address(ADMIN_PORT),
        },
        connector: Some(net::connector(80)),
        reloads_by_itself: false,
    };
    let exporter = bind_with(args, environment).await?;
    exporter.run(processes.start(&name)).await?;
    Ok(())
}
