//! Command line of the gateway. Each module owns the flags of its part.

use std::time::Duration;

use clap::Parser;
use mesh_balance::ExporterArgs;
use mesh_model::flags;
use mesh_net::{listen::ListenAddress, server::TlsArgs};
use mesh_outbox::OutboxArgs;
use mesh_service::{telemetry::LogArgs, web::WebArgs};

use crate::{
    auth::AuthArgs, delta::DeltaArgs, http::CorsArgs, identity::IdentityArgs, intake::Ack,
    limits::LimitArgs,
};

/// Receives OTLP metrics from OpenTelemetry SDKs and collectors.
///
/// Accepts OTLP/gRPC and OTLP/HTTP (protobuf and JSON) and sends the data to exporters.
/// By default it answers a push only after the backend has acknowledged or rejected the
/// data, so that an SDK knows the result. Any number of gateways can run behind a load
/// balancer.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version = mesh_service::VERSION, after_help = flags::NOTATION)]
pub struct Args {
    /// Listen address for OTLP/gRPC.
    #[arg(
        long = "otlp.grpc.listen-address",
        env = "PROMESH_OTLP_GRPC_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:4317"
    )]
    pub grpc_listen_address: ListenAddress,

    /// Listen address for OTLP/HTTP, at /v1/metrics.
    #[arg(
        long = "otlp.http.listen-address",
        env = "PROMESH_OTLP_HTTP_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:4318"
    )]
    pub http_listen_address: ListenAddress,

    /// Listen address for /metrics, /-/healthy and /-/ready.
    #[arg(
        long = "web.listen-address",
        env = "PROMESH_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub web_listen_address: ListenAddress,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub web: WebArgs,

    /// Event after which a push is answered: the backend's answer, or entry into the outbox.
    #[arg(long, env = "PROMESH_ACK", default_value = "stored")]
    pub ack: Ack,

    /// Time that a stopping gateway has to finish pushes and to deliver the outbox.
    #[arg(
        long = "shutdown.timeout",
        env = "PROMESH_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "30s"
    )]
    pub shutdown_timeout: Duration,

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
