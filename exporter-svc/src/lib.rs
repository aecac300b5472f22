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

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use mesh_base::shutdown::Shutdown;
use mesh_model::config::Config;
use mesh_net::server::{Accept, ServeMetrics, Server, ServerTlsError};
use mesh_service::{
    admin::{Admin, Readiness},
    reload,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tower::Service;
use tracing::{error, info, warn};

use self::{
    destination::{Destination, DestinationError, MetricFamilies, Options},
    ingest::{Destinations, Ingest},
    service::MetricsServer,
};

pub use self::args::Args;

pub mod args;
pub mod destination;
pub mod ha;
pub mod ingest;
pub mod metrics;
pub mod remote_write;
pub mod service;
pub mod sigv4;
pub mod translate;

/// Exporter whose ports are open and whose servers do not run yet.
#[derive(Debug)]
pub struct Bound {
    /// Addresses that the exporter listens on.
    pub addresses: Addresses,
    args: Args,
    grpc: Server,
    web: TcpListener,
    registry: Registry,
    families: MetricFamilies,
    ingest: Arc<Ingest>,
}

/// Addresses that an exporter listens on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Address of the OTLP/gRPC port.
    pub grpc: SocketAddr,
    /// Address of the admin port.
    pub web: SocketAddr,
}

/// Error that prevents the exporter from starting or makes it stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file is invalid.
    #[error(transparent)]
    Config(#[from] mesh_model::config::ConfigError),
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
    /// The external labels do not form a valid HA pair.
    #[error("{}: {source}", .file.display())]
    Ha {
        /// Path of the configuration file.
        file: PathBuf,
        /// Error of the HA labels.
        source: mesh_contract::ha::HaError,
    },
    /// The exporter cannot listen on an address.
    #[error("{flag}={address}: {source}")]
    Listen {
        /// Flag that sets the address.
        flag: &'static str,
        /// Address that the flag gives.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The server certificate, its key or the client CA file is invalid.
    #[error("--grpc.tls.*: {0}")]
    Tls(#[from] ServerTlsError),
    /// The admin port failed.
    #[error("admin port: {0}")]
    Admin(#[source] std::io::Error),
}

/// Reads the configuration, starts the destinations and opens the ports.
///
/// # Errors
/// Returns an error if the configuration is invalid or a port cannot be opened.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let mut registry = Registry::with_prefix("promesh_exporter");
    let families = MetricFamilies::register(&mut registry);
    let metrics = ingest::metrics::Metrics::register(&mut registry);
    let destinations = destinations(&args, &families).await?;
    let ingest = Arc::new(Ingest::new(destinations, args.grpc.limits(), metrics));
    let (grpc, grpc_address) = listen("--grpc.listen-address", args.grpc_listen_address).await?;
    let serve_metrics = ServeMetrics::register(&mut registry);
    let grpc = args.grpc.server(grpc, &serve_metrics)?;
    let (web, web_address) = listen("--web.listen-address", args.web_listen_address).await?;
    let addresses = Addresses {
        grpc: grpc_address,
        web: web_address,
    };
    Ok(Bound {
        addresses,
        args,
        grpc,
        web,
        registry,
        families,
        ingest,
    })
}

async fn listen(
    flag: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    let failed = |source| Error::Listen {
        flag,
        address,
        source,
    };
    bound.await.map_err(failed)
}

/// Reads the configuration file and starts its destinations.
async fn destinations(args: &Args, families: &MetricFamilies) -> Result<Destinations, Error> {
    start(&args.config_file, &args.remote_write.options(), families).await
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
    let mut all = Vec::with_capacity(config.remote_write.len());
    for entry in &config.remote_write {
        let started = Destination::start(entry, &config.otlp, options, families).await;
        all.push(started.map_err(|source| Error::Destination {
            file: file(),
            source,
        })?);
        info!(destination = entry.name, url = %entry.url, "Destination ready");
    }
    let external_labels = ha::external_labels_for_pushes(&config);
    Ok(Destinations {
        all,
        external_labels,
    })
}

// === impl Bound ===

impl Bound {
    /// Serves until shutdown, then finishes the Exports in flight.
    ///
    /// # Errors
    /// Returns an error if the admin server fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self {
            addresses,
            args,
            grpc,
            web,
            registry,
            families,
            ingest,
        } = self;
        info!(grpc = %addresses.grpc, web = %addresses.web, "Exporter ready");
        let readiness = Readiness::default();
        readiness.set(true);
        let (reloader, mut requests) = reload::channel();
        if let Err(error) = reloader.on_hangup() {
            warn!(%error, "Reload on SIGHUP not available");
        }
        // The admin port stays open until the gRPC server has stopped, so that the
        // drain can be observed.
        let (drained, stop_admin) = mesh_base::shutdown::channel();
        let admin = Admin::new("exporter-svc", registry, readiness.clone()).with_reload(reloader);
        let admin = tokio::spawn(admin.serve(web, stop_admin));
        let server = serve(&args, Arc::clone(&ingest), grpc, shutdown.clone());
        tokio::pin!(server);
        loop {
            tokio::select! {
                () = &mut server => break,
                request = requests.next() => {
                    let reloaded = destinations(&args, &families).await;
                    request.respond(reloaded.map(|new| ingest.replace(new)));
                }
                () = shutdown.signaled(), if readiness.get() => readiness.set(false),
            }
        }
        drained.fire();
        match admin.await {
            Ok(served) => served.map_err(Error::Admin)?,
            Err(error) => error!(%error, "Admin server panicked"),
        }
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
    let metrics = MetricsServer::new(ingest, args.grpc.max_message_bytes);
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
