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

mod args;
mod grpc;
mod http;
mod intake;
pub mod json;

use std::{net::SocketAddr, time::Duration};

use mesh::{
    admin::{Admin, Readiness},
    balance::{Balance, BalanceMetrics, plaintext},
    clock::Clock,
    endpoints::StartError,
    outbox::{Outbox, Workers},
    shutdown::Shutdown,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, time::Instant};
use tracing::{info, warn};

pub use args::{Ack, Args};
use intake::{Intake, IntakeMetrics};

/// A gateway that listens but does not serve yet.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens.
    pub addresses: Addresses,
    args: Args,
    grpc: TcpListener,
    http: TcpListener,
    web: TcpListener,
    registry: Registry,
    readiness: Readiness,
    intake: Intake,
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
    /// The exporters cannot be discovered.
    #[error("--exporter.endpoints: {0}")]
    Discovery(#[from] StartError),
    /// A server failed.
    #[error("{server}: {source}")]
    Serve {
        /// Which one.
        server: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Listens on all ports and starts to connect to exporters.
///
/// # Errors
/// Where a port is taken or the exporters cannot be discovered.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    let grpc = listen("--otlp.grpc.listen-address", args.grpc_listen_address).await?;
    let http = listen("--otlp.http.listen-address", args.http_listen_address).await?;
    let web = listen("--web.listen-address", args.web_listen_address).await?;
    let addresses = Addresses {
        grpc: address(&grpc, args.grpc_listen_address),
        http: address(&http, args.http_listen_address),
        web: address(&web, args.web_listen_address),
    };
    let mut registry = Registry::with_prefix("promesh_gateway");
    let balance_metrics = BalanceMetrics::default();
    balance_metrics.register(&mut registry);
    let exporters = args.exporter.endpoints.discover().await?;
    let balance = Balance::new(&args.exporter, exporters, plaintext(), balance_metrics);
    let (outbox, workers) = Outbox::new(&args.outbox, Clock::system(), balance);
    registry.register_collector(Box::new(outbox.collector()));
    let metrics = IntakeMetrics::default();
    metrics.register(&mut registry);
    let intake = Intake::new(outbox, args.ack, metrics);
    Ok(Bound {
        addresses,
        args,
        grpc,
        http,
        web,
        registry,
        readiness: Readiness::default(),
        intake,
        workers,
    })
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
        let serving = async {
            tokio::try_join!(
                grpc::serve(self.grpc, &self.args, self.intake.clone(), shutdown.clone()),
                http::serve(self.http, &self.args, self.intake.clone(), shutdown.clone()),
            )
        };
        let readiness = self.readiness.clone();
        let stopping = async {
            shutdown.signaled().await;
            readiness.set(false);
            tokio::time::sleep(Duration::from_secs(self.args.shutdown_timeout_seconds)).await;
        };
        let outcome = tokio::select! {
            served = serving => served.map(|_| ()),
            () = stopping => {
                warn!("Pushes under way were cut off by the shutdown timeout");
                Ok(())
            }
        };
        let deadline = Instant::now() + Duration::from_secs(self.args.shutdown_timeout_seconds);
        let account = self.workers.drain(deadline).await;
        info!(%account, "Gateway stopped");
        admin_stop.fire();
        let _ = admin.await;
        outcome
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
