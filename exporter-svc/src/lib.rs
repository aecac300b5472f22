//! exporter-svc: translates OTLP to signed Prometheus remote write.
//!
//! ```text
//! OTLP/gRPC ─▶ service ─▶ ingest ─▶ translate ─▶ remote_write ─▶ sigv4 ─▶ backend
//!                            ▲                        │
//!                            └──── outcomes ◀─────────┘
//! ```
//!
//! An exporter is stateless: every sample that it holds is still in its sender's
//! outbox. It translates each Export request, batches the parts that arrive within a
//! short linger into remote-write requests, and posts them. It replies to an Export
//! only after the backend has responded for all of its samples.

use std::{path::Path, sync::Arc};

use mesh_base::shutdown::{self, Shutdown};
use mesh_contract::report::MAX_DESTINATIONS;
use mesh_model::config::{Config, redacted};
use mesh_net::{
    http_client,
    server::{Accept, ServeMetrics, Server},
};
use mesh_service::{
    admin::{Admin, Readiness},
    reload::{self, ConfigWatch},
    telemetry,
    web::WebServer,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tower::Service;
use tracing::{info, warn};

use self::{
    destination::{Destination, MetricFamilies, Options},
    ingest::{Destinations, Ingest},
    service::MetricsServer,
};

pub use self::{
    args::Args,
    environment::{Addresses, Environment},
    error::Error,
};

pub mod args;
pub mod destination;
mod environment;
mod error;
pub mod ha;
pub mod ingest;
pub mod memory;
pub mod metrics;
mod page;
pub mod remote_write;
pub mod service;
pub mod share;
pub mod sigv4;
pub mod translate;

/// Exporter whose ports are open and whose servers do not run yet.
#[derive(Debug)]
pub struct Bound<G = TcpListener, W = TcpListener> {
    /// Addresses that the exporter listens on.
    pub addresses: Addresses,
    grpc: Server<G>,
    web: WebServer<W>,
    reloads_by_itself: bool,
    pipeline: Pipeline,
}

/// Ingest and its running destinations.
#[derive(Debug)]
struct Pipeline {
    args: Args,
    options: Options,
    registry: Registry,
    families: MetricFamilies,
    ingest: Arc<Ingest>,
    watch: ConfigWatch,
}

/// Reads the configuration, starts the destinations and opens the ports.
///
/// # Errors
/// Returns an error if the configuration is invalid or a port cannot be opened.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    // An invalid configuration opens no port.
    let options = args.remote_write.options(args.grpc.labels());
    let pipeline = Pipeline::start(args, options).await?;
    let environment = Environment::system(&pipeline.args).await?;
    pipeline.bind(environment)
}

/// Starts an exporter like [`bind`], in another environment. The flags for listen addresses do
/// not apply then.
///
/// # Errors
/// Returns an error if the configuration or a TLS file is invalid.
pub async fn bind_with<G, W>(
    args: Args,
    environment: Environment<G, W>,
) -> Result<Bound<G, W>, Error> {
    let options = Options {
        connector: environment.connector.clone(),
        ..args.remote_write.options(args.grpc.labels())
    };
    Pipeline::start(args, options).await?.bind(environment)
}

/// Starts the destinations of a configuration file.
///
/// # Errors
/// Returns an error if the file or one of its entries is invalid.
pub async fn start(
    config_file: &Path,
    options: &Options,
    families: &MetricFamilies,
) -> Result<Destinations, Error> {
    let file = || config_file.to_owned();
    let config = Config::load(config_file)?;
    ha::check(&config).map_err(|source| Error::Ha {
        file: file(),
        source,
    })?;
    if config.remote_write.is_empty() {
        return Err(Error::NoDestination(file()));
    }
    if config.remote_write.len() > MAX_DESTINATIONS {
        return Err(Error::TooManyDestinations {
            file: file(),
            found: config.remote_write.len(),
        });
    }
    let mut all = Vec::with_capacity(config.remote_write.len());
    for entry in &config.remote_write {
        let started = Destination::start(entry, &config.otlp, options, families).await;
        all.push(started.map_err(|source| Error::Destination {
            file: file(),
            source,
        })?);
        info!(destination = entry.name, url = %redacted(&entry.url), "Destination ready");
    }
    let external_labels = ha::external_labels_for_pushes(&config, options.cluster_on_pushes);
    if options.cluster_on_pushes && ha::lacks_cluster(&config) {
        warn!(
            "global.external_labels: cluster expands to nothing, so pushed series get no cluster \
             label; set the variable in the environment of the exporters"
        );
    }
    telemetry::set_level(config.log_level);
    for warning in &config.warnings {
        warn!(%warning, "Configuration has a probable mistake");
    }
    Ok(Destinations {
        all,
        external_labels,
    })
}

// === impl Pipeline ===

impl Pipeline {
    async fn start(args: Args, options: Options) -> Result<Self, Error> {
        let mut registry = Registry::with_prefix("promesh_exporter");
        http_client::register_metrics(&mut registry);
        let families = MetricFamilies::register(&mut registry);
        let metrics = ingest::metrics::Metrics::register(&mut registry);
        let watch = ConfigWatch::new(&args.config_file, &args.config_watch);
        let destinations = start(&args.config_file, &options, &families).await?;
        let ingest = Arc::new(Ingest::new(destinations, args.grpc.limits(), metrics));
        Ok(Self {
            args,
            options,
            registry,
            families,
            ingest,
            watch,
        })
    }

    fn bind<G, W>(mut self, environment: Environment<G, W>) -> Result<Bound<G, W>, Error> {
        let metrics = ServeMetrics::register(&mut self.registry);
        Ok(Bound {
            addresses: environment.addresses,
            grpc: self.args.grpc.server(environment.grpc, &metrics)?,
            web: self.args.web.server(environment.web, &metrics),
            reloads_by_itself: environment.reloads_by_itself,
            pipeline: self,
        })
    }
}

// === impl Bound ===

impl<G: Accept, W: Accept + 'static> Bound<G, W> {
    /// Serves until shutdown, then finishes the Exports in flight.
    ///
    /// # Errors
    /// Returns an error if the admin server fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Addresses { grpc, web } = self.addresses;
        let Pipeline {
            args,
            options,
            mut registry,
            families,
            ingest,
            watch,
        } = self.pipeline;
        info!(%grpc, %web, "Exporter ready");
        let readiness = Readiness::default();
        readiness.set(true);
        let (reloader, mut requests) = reload::channel(&mut registry);
        if self.reloads_by_itself {
            reloader.on_change(watch);
            if let Err(error) = reloader.on_hangup() {
                warn!(%error, "Reload on SIGHUP not available");
            }
        }
        // The admin port stays open until the gRPC server has stopped, so that the
        // drain can be observed.
        let (drained, stop_admin) = shutdown::channel();
        let admin = Admin::new("exporter-svc", registry, readiness.clone())
            .with_reload(reloader)
            .with_routes(&[page::PATH], page::routes(Arc::clone(&ingest)));
        let admin = tokio::spawn(admin.serve(self.web, stop_admin));
        let server = serve(&args, Arc::clone(&ingest), self.grpc, shutdown.clone());
        tokio::pin!(server);
        loop {
            tokio::select! {
                // A fixed order lets simulations repeat.
                biased;
                () = shutdown.signaled(), if readiness.get() => readiness.set(false),
                () = &mut server => break,
                request = requests.next() => {
                    let reloaded = start(&args.config_file, &options, &families).await;
                    request.respond(reloaded.map(|new| ingest.replace(new)));
                }
            }
        }
        drained.fire();
        admin.await.map_err(Error::Admin)?;
        ingest.log_totals();
        info!("Exporter stopped");
        Ok(())
    }
}

/// Serves gRPC until shutdown, then waits for the Exports in flight for at most
/// `--shutdown.timeout`.
pub async fn serve<L: Accept>(
    args: &Args,
    ingest: Arc<Ingest>,
    server: Server<L>,
    shutdown: Shutdown,
) {
    let metrics = MetricsServer::new(ingest, args.grpc.messages());
    let handler = move |request| {
        let call = metrics.clone().call(request);
        async move {
            match call.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    let shutdown_timeout = async {
        shutdown.signaled().await;
        tokio::time::sleep(args.shutdown_timeout).await;
    };
    tokio::select! {
        biased;
        () = server.serve(handler, shutdown.clone()) => {}
        () = shutdown_timeout => {
            warn!(timeout = ?args.shutdown_timeout, "Shutdown timeout reached with Exports in flight");
        }
    }
}
