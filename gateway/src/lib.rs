//! gateway: takes OTLP metrics from any OpenTelemetry SDK into the mesh.
//!
//! ```text
//! OTLP/gRPC ─▶ grpc ─┐
//!                    ├─▶ intake ─▶ outbox ─▶ balance ─▶ exporter ─▶ backend
//! OTLP/HTTP ─▶ http ─┘      ▲                                          │
//!                           └───────────────── verdict ◀───────────────┘
//! ```
//!
//! Each resource of a push becomes a batch; the push is answered when the backend
//! has answered for all of them, or as soon as they wait in the outbox where
//! `--ack=accepted` asks for that.

mod admission;
mod args;
mod auth;
mod body;
mod delta;
mod grpc;
mod http;
mod identity;
mod intake;
pub mod json;
mod points;
mod pushes;
mod refusal;

use std::{net::SocketAddr, time::Duration};

use mesh::{
    admin::{Admin, Readiness},
    balance::{Balance, BalanceMetrics, plaintext},
    clock::Clock,
    endpoints::{Addresses as Known, Endpoints, StartError},
    outbox::{Outbox, Workers},
    serve::{Protocol, ServeMetrics, Server, ServerTlsError},
    shard,
    shutdown::Shutdown,
    tls::TlsError,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, time::Instant};
use tracing::{info, warn};

use admission::{Admission, AdmissionMetrics};
pub use args::{Ack, Args, LimitArgs};
use auth::Auth;
pub use auth::{AuthArgs, TokensError};
pub use delta::{DeltaArgs, Mode};
use delta::{DeltaMetrics, Owners, Peers, Summing};
pub use http::{CorsArgs, Origin};
use identity::{Identity, WriterMetrics, Writers};
pub use identity::{IdentityArgs, Source};
use intake::{Intake, IntakeMetrics, Screen, Stages};
use pushes::Pushes;

/// A gateway that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens.
    pub addresses: Addresses,
    args: Args,
    grpc: Server,
    http: Server,
    web: TcpListener,
    registry: Registry,
    readiness: Readiness,
    pushes: Pushes,
    workers: Workers,
}

/// Where a gateway listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub http: SocketAddr,
    /// The admin port.
    pub web: SocketAddr,
}

/// A gateway that could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be listened on.
    #[error("{flag}={address}: {source}")]
    Listen {
        /// The flag that names the port.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Exporters or other gateways cannot be discovered.
    #[error("{flag}: {source}")]
    Discovery {
        /// The flag that names them.
        flag: &'static str,
        /// Why not.
        source: StartError,
    },
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    /// The files of TLS towards exporters cannot be used.
    #[error("--exporter.tls.*: {0}")]
    ExporterTls(#[from] TlsError),
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The admin port failed.
    #[error("admin port: {0}")]
    Admin(#[source] std::io::Error),
}

/// Listens on all ports and starts to connect to exporters.
///
/// # Errors
/// Where a port is taken, a file cannot be used or the exporters cannot be
/// discovered.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let auth = args.auth.build()?;
    let grpc = listen("--otlp.grpc.listen-address", args.grpc_listen_address).await?;
    let http = listen("--otlp.http.listen-address", args.http_listen_address).await?;
    let web = listen("--web.listen-address", args.web_listen_address).await?;
    let addresses = Addresses {
        grpc: address(&grpc, args.grpc_listen_address),
        http: address(&http, args.http_listen_address),
        web: address(&web, args.web_listen_address),
    };
    let mut registry = Registry::with_prefix("promesh_gateway");
    let serve_metrics = ServeMetrics::register(&mut registry);
    let server = |listener, protocol, alpn: &[&str], name| {
        let limits = args.limits.serve();
        Ok::<_, ServerTlsError>(Server {
            listener,
            protocol,
            tls: args.tls.server(alpn)?,
            metrics: serve_metrics.of(name, &limits),
            limits,
        })
    };
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
    let intake = Intake::new(outbox, args.ack, stages, metrics);
    let trust = args.identity.trust_forwarded_for;
    let metrics = AdmissionMetrics::register(&mut registry);
    let admission = Admission::new(auth, &args.limits, trust, metrics);
    let pushes = Pushes::new(admission, intake, &args.limits);
    Ok(Bound {
        addresses,
        args,
        grpc,
        http,
        web,
        registry,
        readiness: Readiness::default(),
        pushes,
        workers,
    })
}

/// What a push goes through on its way to the outbox.
async fn stages(args: &Args, auth: &Auth, registry: &mut Registry) -> Result<Stages, Error> {
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
        screen: Screen {
            max_future: Duration::from_secs(args.limits.max_future_seconds),
        },
        identity: Identity::new(&args.identity),
        writers: Writers::new(args.identity.max_streams, writers),
        summing: Summing::new(&args.delta, Owners::new(shards), metrics),
        peers: Peers::new(&args.delta, own, auth.clone()),
    })
}

async fn discover(flag: &'static str, endpoints: &Endpoints) -> Result<Known, Error> {
    let discovered = endpoints.discover().await;
    let discovered = discovered.map_err(|source| Error::Discovery { flag, source })?;
    Ok(discovered.ready)
}

// === impl Bound ===

impl Bound {
    /// Serves until it is time to stop, then finishes the pushes under way and
    /// delivers what waits, until the shutdown timeout.
    ///
    /// # Errors
    /// Where a server fails.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Addresses { grpc, http, web } = self.addresses;
        info!(%grpc, %http, %web, "Gateway started");
        // The admin port answers until everything else has ended.
        let (admin_stop, admin_shutdown) = mesh::shutdown::channel();
        let admin = Admin::new("gateway", self.registry, self.readiness.clone());
        let admin = tokio::spawn(admin.serve(self.web, admin_shutdown));
        self.readiness.set(true);
        let (pushes, cors) = (self.pushes, self.args.cors);
        let grpc = {
            let pushes = pushes.clone();
            move |request| grpc::answer(pushes.clone(), request)
        };
        let http = move |request| http::answer(pushes.clone(), cors.clone(), request);
        let serving = async {
            tokio::join!(
                self.grpc.serve(grpc, shutdown.clone()),
                self.http.serve(http, shutdown.clone()),
            );
        };
        let timeout = Duration::from_secs(self.args.shutdown_timeout_seconds);
        let readiness = self.readiness.clone();
        let stopping = async {
            shutdown.signaled().await;
            readiness.set(false);
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            () = serving => {}
            () = stopping => warn!("Pushes under way were cut off by the shutdown timeout"),
        }
        let account = self.workers.drain(Instant::now() + timeout).await;
        info!(%account, "Gateway stopped");
        admin_stop.fire();
        match admin.await {
            Ok(served) => served.map_err(Error::Admin),
            Err(_) => Ok(()),
        }
    }
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| Error::Listen {
        flag,
        address,
        source,
    })
}

fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
