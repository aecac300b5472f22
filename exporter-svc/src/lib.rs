//! exporter-svc: turns OTLP into signed Prometheus remote write.
//!
//! ```text
//! OTLP/gRPC ─▶ service ─▶ ingest ─▶ translate ─▶ remote_write ─▶ sigv4 ─▶ backend
//!                            ▲                        │
//!                            └──── outcomes ◀─────────┘
//! ```
//!
//! An exporter holds nothing that its senders do not hold. It translates each
//! Export, joins what arrived within a short linger into remote-write requests,
//! posts them, and answers an Export only once the backend has answered for all
//! of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use mesh::{
    admin::{Admin, Readiness},
    config::Config,
    reload,
    serve::{Accept, ServeMetrics, Server, ServerTlsError},
    shutdown::Shutdown,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tower::Service;
use tracing::{error, info, warn};

use self::{
    ingest::{Destinations, Ingest},
    remote_write::destination::{Destination, DestinationError, Options, Registered},
    service::MetricsServer,
};

pub use self::args::Args;

pub mod args;
pub mod ha;
pub mod ingest;
pub mod remote_write;
pub mod service;
pub mod sigv4;
pub mod translate;

/// An exporter that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens.
    pub addresses: Addresses,
    args: Args,
    grpc: Server,
    web: TcpListener,
    registry: Registry,
    registered: Registered,
    ingest: Arc<Ingest>,
}

/// Where an exporter listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// The admin port.
    pub web: SocketAddr,
}

/// An exporter that could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be used.
    #[error(transparent)]
    Config(#[from] mesh::config::ConfigError),
    /// An entry of `remote_write` cannot be used.
    #[error("{}: {source}", .file.display())]
    Destination {
        /// The configuration file.
        file: PathBuf,
        /// What is wrong with it.
        source: DestinationError,
    },
    /// The file has nowhere to write to.
    #[error("{}: no remote_write, so there is nowhere to send samples to", .0.display())]
    NoDestination(PathBuf),
    /// The external labels make an HA pair impossible.
    #[error("{}: {source}", .file.display())]
    Ha {
        /// The configuration file.
        file: PathBuf,
        /// What is wrong with it.
        source: mesh::ha::HaError,
    },
    /// An address cannot be listened on.
    #[error("{flag}={address}: {source}")]
    Listen {
        /// The flag that gave the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate, its key or the clients' authorities cannot be used.
    #[error("--grpc.tls.*: {0}")]
    Tls(#[from] ServerTlsError),
    /// The admin port failed.
    #[error("admin port: {0}")]
    Admin(#[source] std::io::Error),
}

/// Reads the configuration, starts the destinations and listens.
///
/// # Errors
/// Where any of that cannot be done.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let mut registry = Registry::with_prefix("promesh_exporter");
    let registered = Registered::register(&mut registry);
    let metrics = ingest::metrics::Metrics::register(&mut registry);
    let destinations = destinations(&args, &registered).await?;
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
        registered,
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

/// Reads the configuration file and starts what it says.
async fn destinations(args: &Args, registered: &Registered) -> Result<Destinations, Error> {
    start(&args.config_file, &args.remote_write.options(), registered).await
}

/// Starts the destinations of a configuration file.
///
/// # Errors
/// Where the file or one of its entries cannot be used.
pub async fn start(
    config_file: &Path,
    options: &Options,
    registered: &Registered,
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
        let started = Destination::start(entry, &config.otlp, options, registered).await;
        all.push(started.map_err(|source| Error::Destination {
            file: file(),
            source,
        })?);
        info!(destination = entry.name, url = %entry.url, "Destination ready");
    }
    let external_labels = ha::for_pushes(&config);
    Ok(Destinations {
        all,
        external_labels,
    })
}

// === impl Bound ===

impl Bound {
    /// Serves until it is time to stop, then answers what it has taken.
    ///
    /// # Errors
    /// Where a server fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self {
            addresses,
            args,
            grpc,
            web,
            registry,
            registered,
            ingest,
        } = self;
        info!(grpc = %addresses.grpc, web = %addresses.web, "Exporter ready");
        let readiness = Readiness::default();
        readiness.set(true);
        let (reloader, mut requests) = reload::channel();
        if let Err(error) = reloader.on_hangup() {
            warn!(%error, "SIGHUP will not reload");
        }
        // The admin port outlives the gRPC server: the drain can be watched.
        let (drained, stop_admin) = mesh::shutdown::channel();
        let admin = Admin::new("exporter-svc", registry, readiness.clone()).with_reload(reloader);
        let admin = tokio::spawn(admin.serve(web, stop_admin));
        let server = serve(&args, Arc::clone(&ingest), grpc, shutdown.clone());
        tokio::pin!(server);
        loop {
            tokio::select! {
                () = &mut server => break,
                request = requests.next() => {
                    let reloaded = destinations(&args, &registered).await;
                    request.answer(reloaded.map(|new| ingest.replace(new)));
                }
                () = shutdown.signaled(), if readiness.get() => readiness.set(false),
            }
        }
        drained.fire();
        match admin.await {
            Ok(served) => served.map_err(Error::Admin)?,
            Err(error) => error!(%error, "The admin port panicked"),
        }
        ingest.log_ledger();
        info!("Exporter stopped");
        Ok(())
    }
}

/// Serves gRPC until it is time to stop and Exports under way are answered, or the
/// time for that is over.
pub async fn serve<L: Accept>(
    args: &Args,
    ingest: Arc<Ingest>,
    server: Server<L>,
    shutdown: Shutdown,
) {
    let metrics = MetricsServer::new(ingest, args.grpc.max_message_bytes);
    let handler = move |request| {
        let answering = metrics.clone().call(request);
        async move {
            match answering.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    let too_long = async {
        shutdown.signaled().await;
        tokio::time::sleep(args.shutdown_timeout).await;
    };
    tokio::select! {
        biased;
        () = server.serve(handler, shutdown.clone()) => {}
        () = too_long => {
            warn!(timeout = ?args.shutdown_timeout, "Left before all Exports were answered");
        }
    }
}
