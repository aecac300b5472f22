//! An exporter in the simulation: all of exporter-svc but its admin port.

use std::{path::PathBuf, sync::Arc};

use clap::Parser;
use exporter_svc::{
    Args,
    destination::{MetricFamilies, Options},
    ingest::{Ingest, metrics::Metrics},
};
use mesh_net::server::ServeMetrics;
use prometheus_client::registry::Registry;

use super::{net, world::Shared};

/// Where exporters listen.
pub(super) const PORT: u16 = 4317;

/// Serves Exports until told to stop.
pub(super) async fn run(shared: Arc<Shared>, name: String, config: PathBuf) -> turmoil::Result {
    let args = Args::try_parse_from(["exporter-svc"])?;
    let mut registry = Registry::default();
    let families = MetricFamilies::register(&mut registry);
    let options = Options {
        connector: Some(net::connector()),
        allow_http: true,
        ..args.remote_write.options()
    };
    let destinations = exporter_svc::start(&config, &options, &families).await?;
    let metrics = Metrics::register(&mut registry);
    let ingest = Arc::new(Ingest::new(destinations, args.grpc.limits(), metrics));
    let listener = net::Listener::bind(PORT).await?;
    let server = args
        .grpc
        .server(listener, &ServeMetrics::register(&mut registry))?;
    let shutdown = shared.begin(&name);
    exporter_svc::serve(&args, ingest, server, shutdown).await;
    Ok(())
}
