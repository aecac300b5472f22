//! The command line.

mod limits;

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use mesh::{balance::ExporterArgs, outbox::OutboxArgs, serve::TlsArgs, telemetry::LogArgs};

use crate::{auth::AuthArgs, delta::DeltaArgs, http::CorsArgs, identity::IdentityArgs};
pub use limits::LimitArgs;

/// Takes OTLP metrics from OpenTelemetry SDKs and collectors into the mesh.
///
/// Speaks OTLP/gRPC and OTLP/HTTP (protobuf and JSON) and passes what it takes on
/// to exporters. A push is answered once the backend has answered for it, so that
/// an SDK knows what became of its data; any number of gateways can run behind a
/// load balancer.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version)]
pub struct Args {
    /// Where OTLP/gRPC is taken.
    #[arg(
        long = "otlp.grpc.listen-address",
        env = "PROMESH_OTLP_GRPC_LISTEN_ADDRESS",
        default_value = "0.0.0.0:4317"
    )]
    pub grpc_listen_address: SocketAddr,

    /// Where OTLP/HTTP is taken, at /v1/metrics.
    #[arg(
        long = "otlp.http.listen-address",
        env = "PROMESH_OTLP_HTTP_LISTEN_ADDRESS",
        default_value = "0.0.0.0:4318"
    )]
    pub http_listen_address: SocketAddr,

    /// Where /metrics, /-/healthy and /-/ready are served.
    #[arg(
        long = "web.listen-address",
        env = "PROMESH_WEB_LISTEN_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub web_listen_address: SocketAddr,

    /// When a push is answered: when the backend has it, or when it waits here.
    #[arg(long, env = "PROMESH_ACK", default_value = "stored")]
    pub ack: Ack,

    /// Seconds that a stopping gateway goes on delivering what it has taken.
    #[arg(
        long = "shutdown.timeout",
        env = "PROMESH_SHUTDOWN_TIMEOUT",
        default_value_t = 30
    )]
    pub shutdown_timeout_seconds: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub limits: LimitArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub tls: TlsArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub auth: AuthArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub cors: CorsArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub identity: IdentityArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub delta: DeltaArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub exporter: ExporterArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub outbox: OutboxArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: LogArgs,
}

/// When a push is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// When the backend has answered for it.
    #[default]
    Stored,
    /// When it waits in the outbox.
    Accepted,
}
