//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use mesh::telemetry::LogArgs;

use crate::{ingest::IngestLimits, remote_write::destination::Options};

/// Turns OTLP into signed Prometheus remote write.
///
/// Takes Exports from receivers, gateways and any OTLP/gRPC sender, joins them
/// into remote-write requests to the destinations of the `remote_write` section,
/// and answers each Export only once its destinations have answered for all of
/// it. It keeps nothing: any number of exporters can run side by side, and any of
/// them can go at any time.
#[derive(Clone, Debug, Parser)]
#[command(name = "exporter-svc", version)]
pub struct Args {
    /// Prometheus configuration file; `remote_write`, `otlp` and
    /// `global.external_labels` are used.
    #[arg(
        long = "config.file",
        env = "PROMESH_CONFIG_FILE",
        default_value = "prometheus.yml"
    )]
    pub config_file: PathBuf,

    /// Where OTLP/gRPC is taken.
    #[arg(
        long = "grpc.listen-address",
        env = "PROMESH_GRPC_LISTEN_ADDRESS",
        default_value = "0.0.0.0:4317"
    )]
    pub grpc_listen_address: SocketAddr,

    /// Where /metrics, /-/healthy, /-/ready and /-/reload are served.
    #[arg(
        long = "web.listen-address",
        env = "PROMESH_WEB_LISTEN_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub web_listen_address: SocketAddr,

    /// Seconds that a stopping exporter goes on answering what it has taken.
    #[arg(
        long = "shutdown.timeout",
        env = "PROMESH_SHUTDOWN_TIMEOUT",
        value_parser = seconds,
        default_value = "60"
    )]
    pub shutdown_timeout: Duration,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub grpc: GrpcArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub remote_write: RemoteWriteArgs,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub log: LogArgs,
}

/// What is taken in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Taking in")]
pub struct GrpcArgs {
    /// Largest Export, in bytes, compressed or not.
    #[arg(
        long = "grpc.max-message-bytes",
        env = "PROMESH_GRPC_MAX_MESSAGE_BYTES",
        default_value_t = 64 << 20
    )]
    pub max_message_bytes: usize,

    /// Bytes that all Exports under way may take; an Export beyond that is sent
    /// away with the request to come back.
    #[arg(
        long = "ingest.max-bytes",
        env = "PROMESH_INGEST_MAX_BYTES",
        default_value_t = 512 << 20
    )]
    pub budget_bytes: usize,

    /// Exports that one connection may have under way.
    #[arg(
        long = "grpc.max-concurrent-streams",
        env = "PROMESH_GRPC_MAX_CONCURRENT_STREAMS",
        default_value_t = 256
    )]
    pub max_concurrent_streams: u32,

    /// Seconds an Export may take whose sender gives no deadline.
    #[arg(
        long = "grpc.timeout",
        env = "PROMESH_GRPC_TIMEOUT",
        value_parser = seconds,
        default_value = "10"
    )]
    pub timeout: Duration,

    /// Seconds after which a connection is closed once its Exports are answered,
    /// so that new exporters get their share.
    #[arg(
        long = "grpc.max-connection-age",
        env = "PROMESH_GRPC_MAX_CONNECTION_AGE",
        value_parser = seconds,
        default_value = "600"
    )]
    pub max_connection_age: Duration,
}

/// What is sent on.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sending on")]
pub struct RemoteWriteArgs {
    /// Allow plain http to hosts other than this one.
    #[arg(
        long = "remote-write.allow-http",
        env = "PROMESH_REMOTE_WRITE_ALLOW_HTTP"
    )]
    pub allow_http: bool,

    /// Milliseconds that series wait for others to join them in a request.
    #[arg(
        long = "remote-write.linger-ms",
        env = "PROMESH_REMOTE_WRITE_LINGER_MS",
        default_value_t = 20
    )]
    pub linger_ms: u64,

    /// Bytes of one request at most, before compression.
    #[arg(
        long = "remote-write.max-bytes",
        env = "PROMESH_REMOTE_WRITE_MAX_BYTES",
        default_value_t = 1 << 20
    )]
    pub request_bytes: usize,

    /// Bytes that the cache of encoded labels may take, for each destination.
    #[arg(
        long = "remote-write.cache-bytes",
        env = "PROMESH_REMOTE_WRITE_CACHE_BYTES",
        default_value_t = 256 << 20
    )]
    pub cache_bytes: usize,
}

// === impl GrpcArgs ===

impl GrpcArgs {
    /// What Exports may cost.
    pub fn limits(&self) -> IngestLimits {
        IngestLimits {
            budget: self.budget_bytes,
            timeout: self.timeout,
        }
    }
}

// === impl RemoteWriteArgs ===

impl RemoteWriteArgs {
    /// What holds for all destinations.
    pub fn options(&self) -> Options {
        Options {
            request_bytes: self.request_bytes,
            linger: Duration::from_millis(self.linger_ms),
            allow_http: self.allow_http,
            cache_bytes: self.cache_bytes,
            connector: None,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
