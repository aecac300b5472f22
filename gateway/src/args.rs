//! The command line.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use mesh::{balance::ExporterArgs, outbox::OutboxArgs, telemetry::LogArgs};

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

    /// Largest push as it comes over the wire, in bytes.
    #[arg(
        long = "otlp.max-compressed-bytes",
        env = "PROMESH_OTLP_MAX_COMPRESSED_BYTES",
        default_value_t = 16 << 20
    )]
    pub max_compressed_bytes: usize,

    /// Largest push once decompressed, in bytes.
    #[arg(
        long = "otlp.max-bytes",
        env = "PROMESH_OTLP_MAX_BYTES",
        default_value_t = 64 << 20
    )]
    pub max_push_bytes: usize,

    /// Pushes that one connection may have under way.
    #[arg(
        long = "otlp.max-concurrent-streams",
        env = "PROMESH_OTLP_MAX_CONCURRENT_STREAMS",
        default_value_t = 100
    )]
    pub max_concurrent_streams: u32,

    /// Pushes that the whole gateway may have under way; one more is told to come
    /// back.
    #[arg(
        long = "otlp.max-concurrent-pushes",
        env = "PROMESH_OTLP_MAX_CONCURRENT_PUSHES",
        default_value_t = 1000
    )]
    pub max_concurrent_pushes: usize,

    /// Seconds after which a gRPC connection is closed once its pushes are
    /// answered, so that new gateways get their share.
    #[arg(
        long = "otlp.max-connection-age",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE",
        default_value_t = 300
    )]
    pub max_connection_age_seconds: u64,

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
