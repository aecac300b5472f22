//! gateway: receives OTLP metrics from OpenTelemetry SDKs and sends them to exporters.
//!
//! ```text
//! OTLP/gRPC ─▶ grpc ─┐
//!                    ├─▶ intake ─▶ outbox ─▶ balance ─▶ exporter ─▶ backend
//! OTLP/HTTP ─▶ http ─┘      ▲                                          │
//!                           └───────────────── verdict ◀───────────────┘
//! ```
//!
//! A push is one OTLP Export request of a client. Each of its resources becomes a batch.
//! The gateway responds after the backend has acknowledged or rejected all batches. With
//! `--ack=accepted` it responds as soon as they are in the outbox.

mod admission;
mod args;
mod auth;
mod body;
mod decoded;
mod delta;
mod export_result;
mod grpc;
mod handler;
mod heads;
mod http;
mod identity;
mod intake;
mod invalid_text;
pub mod json;
mod limits;
mod points;
mod push_error;
mod resource_splitter;
mod stream;

use std::net::SocketAddr;

use mesh_balance::{Balance, BalanceMetrics};
use mesh_base::{clock::Clock, shutdown::Shutdown};
use mesh_kubernetes::{
    endpoints::{self, StartError},
    shard,
};
use mesh_net::{
    connector::plaintext,
    endpoints::{Addresses as DiscoveredAddresses, Endpoints},
    listen::ListenAddress,
    server::{Protocol, ServeMetrics, Server, ServerTlsError},
    tls::TlsError,
};
use mesh_outbox::{Outbox, Workers};
use mesh_service::{
    admin::{Admin, Readiness},
    web::WebServer,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, time::Instant};
use tracing::{info, warn};

use admission::{Admission, AdmissionMetrics};
pub use args::Args;
pub use auth::AuthArgs;
use auth::Authenticator;
pub use decoded::{Decoded, RejectedPoints};
use delta::{DeltaAccumulator, DeltaMetrics, Owners, Peers};
pub use delta::{DeltaArgs, Mode};
use handler::PushHandler;
pub use http::{CorsArgs, Origin};
use identity::{ConflictDetector, ResourceDefaults, WriterMetrics};
pub use identity::{IdentityArgs, Source};
pub use intake::Ack;
use intake::{Intake, IntakeMetrics, Stages, Validator};
use invalid_text::InvalidText;
pub use limits::LimitArgs;
pub use mesh_net::bearer::TokensError;

/// A gateway that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    /// Addresses that the gateway listens on.
    pub addresses: Addresses,
    args: Args,
    grpc: Server,
    http: Server,
    web: WebServer<TcpListener>,
    registry: Registry,
    readiness: Readiness,
    handler: PushHandler,
    workers: Workers,
}

/// Addresses that a gateway listens on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Address for OTLP/gRPC.
    pub grpc: SocketAddr,
    /// Address for OTLP/HTTP.
    pub http: SocketAddr,
    /// Address of the admin port.
    pub web: SocketAddr,
}

/// Error that prevents the gateway from starting, or stops it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gateway cannot listen on a port.
    #[error("{flag}={address}: {source}")]
    Listen {
        /// Flag that names the port.
        flag: &'static str,
        /// Address of the port.
        address: ListenAddress,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Exporters or other gateways cannot be discovered.
    #[error("{flag}: {source}")]
    Discovery {
        /// Flag that names the endpoints.
        flag: &'static str,
        /// Error of the discovery.
        source: StartError,
    },
    /// A TLS file of the server cannot be used.
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    /// A TLS file for connections to exporters cannot be used.
    #[error("--exporter.tls.*: {0}")]
    ExporterTls(#[from] TlsError),
    /// The file of bearer tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The admin port failed.
    #[error("admin port: {0}")]
    Admin(#[source] tokio::task::JoinError),
}

/// Listens on all ports and starts to connect to exporters.
///
/// # Errors
/// Returns an error if a port is in use, a file cannot be read, or the discovery of
/// exporters or other gateways fails.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let auth = args.auth.build()?;
    let (grpc, grpc_address) =
        listen("--otlp.grpc.listen-address", &args.grpc_listen_address).await?;
    let (http, http_address) =
        listen("--otlp.http.listen-address", &args.http_listen_address).await?;
    let (web, web_address) = listen("--web.listen-address", &args.web_listen_address).await?;
    let addresses = Addresses {
        grpc: grpc_address,
        http: http_address,
        web: web_address,
    };
    let mut registry = Registry::with_prefix("promesh_gateway");
    let serve_metrics = ServeMetrics::register(&mut registry);
    let server = |listener, protocol, alpn: &[&str], name| {
        let limits = args.limits.server();
        Ok::<_, ServerTlsError>(Server {
            listener,
            protocol,
            tls: args.tls.server(alpn)?,
            metrics: serve_metrics.for_listener(name, &limits),
            limits,
        })
    };
    let web = args.web.server(web, &serve_metrics);
    let grpc = server(grpc, Protocol::Http2, &["h2"], "grpc")?;
    let http = server(http, Protocol::Any, &["h2", "http/1.1"], "http")?;
    let balance_metrics = BalanceMetrics::default();
    balance_metrics.register(&mut registry);
    let exporters = discover("--exporter.endpoints", &args.exporter.endpoints).await?;
    let connector = args.exporter.tls.over(plaintext())?;
    let balance = Balance::new(&args.exporter, exporters, connector, balance_metrics);
    let (outbox, workers) = Outbox::new(&args.outbox, Clock::system(), balance);
    registry.register_collector(Box::new(outbox.collector()));
    let metrics = IntakeMetrics::default();
    metrics.register(&mut registry);
    let stages = stages(&args, &auth, &mut registry).await?;
    let max_batch = args.exporter.max_message_bytes.in_memory();
    let intake = Intake::new(outbox, args.ack, stages, max_batch, metrics);
    let trust = args.identity.trust_forwarded_for;
    let metrics = AdmissionMetrics::register(&mut registry);
    let admission = Admission::new(auth, &args.limits, trust, metrics);
    let invalid_text = InvalidText::register(&mut registry);
    let handler = PushHandler::new(admission, intake, invalid_text, &args.limits);
    Ok(Bound {
        addresses,
        args,
        grpc,
        http,
        web,
        registry,
        readiness: Readiness::default(),
        handler,
        workers,
    })
}

/// Builds the stages that a push passes before the outbox.
async fn stages(
    args: &Args,
    auth: &Authenticator,
    registry: &mut Registry,
) -> Result<Stages, Error> {
    let shards = match (&args.delta.members, &args.delta.self_address) {
        (Some(members), Some(own)) => {
            let members = discover("--gateway.members", members).await?;
            shard::follow(own.clone(), members)
        }
        _ => shard::alone(),
    };
    let own = (args.tls.cert_file.clone(), args.tls.key_file.clone());
    let metrics = DeltaMetrics::register(registry, &args.delta);
    let writers = WriterMetrics::register(registry);
    Ok(Stages {
        validator: Validator {
            max_future: args.limits.max_future,
        },
        defaults: ResourceDefaults::new(&args.identity),
        conflicts: ConflictDetector::new(args.identity.max_streams, writers),
        deltas: DeltaAccumulator::new(&args.delta, Owners::new(shards), metrics),
        peers: Peers::new(&args.delta, own, auth.clone()),
    })
}

/// Discovers the addresses behind `endpoints`. `flag` names them in errors.
async fn discover(flag: &'static str, endpoints: &Endpoints) -> Result<DiscoveredAddresses, Error> {
    let discovered = endpoints::discover(endpoints).await;
    let discovered = discovered.map_err(|source| Error::Discovery { flag, source })?;
    Ok(discovered.ready)
}

// === impl Bound ===

impl Bound {
    /// Serves until shutdown. Then finishes the pushes in flight and delivers the outbox,
    /// each within the shutdown timeout.
    ///
    /// # Errors
    /// Returns an error if the admin server fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Addresses { grpc, http, web } = self.addresses;
        info!(%grpc, %http, %web, "Gateway started");
        // The admin port answers until everything else has ended.
        let (admin_stop, admin_shutdown) = mesh_base::shutdown::channel();
        let admin = Admin::new("gateway", self.registry, self.readiness.clone());
        let admin = tokio::spawn(admin.serve(self.web, admin_shutdown));
        self.readiness.set(true);
        let (handler, cors) = (self.handler, self.args.cors);
        let grpc = {
            let handler = handler.clone();
            move |request| grpc::handle(handler.clone(), request)
        };
        let http = move |request| http::handle(handler.clone(), cors.clone(), request);
        let serving = async {
            tokio::join!(
                self.grpc.serve(grpc, shutdown.clone()),
                self.http.serve(http, shutdown.clone()),
            );
        };
        let timeout = self.args.shutdown_timeout;
        let readiness = self.readiness.clone();
        let stopping = async {
            shutdown.signaled().await;
            readiness.set(false);
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            () = serving => {}
            () = stopping => warn!("Shutdown timeout reached with pushes in flight"),
        }
        let account = self.workers.drain(Instant::now() + timeout).await;
        info!(%account, "Gateway stopped");
        admin_stop.fire();
        admin.await.map_err(Error::Admin)
    }
}

/// Opens a port. `flag` names it in errors.
async fn listen(
    flag: &'static str,
    address: &ListenAddress,
) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = address.bind().await;
    bound.map_err(|source| Error::Listen {
        flag,
        address: address.clone(),
        source,
    })
}
