//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use mesh::{
    serve::{Limits, Protocol, ServeMetrics, Server, ServerTlsError, TlsArgs},
    telemetry::LogArgs,
};

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

    /// Connections there may be; one more waits.
    #[arg(
        long = "grpc.max-connections",
        env = "PROMESH_GRPC_MAX_CONNECTIONS",
        default_value_t = 4096
    )]
    pub max_connections: usize,

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

    /// Seconds that it is then given for them: more than an Export may take, which is
    /// 60 for the services of the mesh.
    #[arg(
        long = "grpc.max-connection-age-grace",
        env = "PROMESH_GRPC_MAX_CONNECTION_AGE_GRACE",
        value_parser = seconds,
        default_value = "70"
    )]
    pub max_connection_age_grace: Duration,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the help of the group"
    )]
    pub tls: GrpcTlsArgs,
}

/// TLS of the port where Exports are taken.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct GrpcTlsArgs {
    /// PEM file with the certificate that senders are shown, and its chain. It is
    /// read again when it has changed. Without it there is no TLS.
    #[arg(
        long = "grpc.tls.cert-file",
        env = "PROMESH_GRPC_TLS_CERT_FILE",
        requires = "grpc_key_file"
    )]
    pub grpc_cert_file: Option<PathBuf>,

    /// PEM file with the certificate's key.
    #[arg(
        long = "grpc.tls.key-file",
        env = "PROMESH_GRPC_TLS_KEY_FILE",
        requires = "grpc_cert_file"
    )]
    pub grpc_key_file: Option<PathBuf>,

    /// PEM file with the authorities of senders' certificates. With it a sender has
    /// to show one (mTLS).
    #[arg(
        long = "grpc.tls.client-ca-file",
        env = "PROMESH_GRPC_TLS_CLIENT_CA_FILE",
        requires = "grpc_cert_file"
    )]
    pub grpc_client_ca_file: Option<PathBuf>,
}

/// How long a sender has for its first request, TLS included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent sender is asked whether it is still there, and how long it has.
const KEEPALIVE: Duration = Duration::from_secs(10);

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

    /// The server of Exports on a listener. Needs a runtime.
    ///
    /// # Errors
    /// Where a file of its TLS cannot be used.
    pub fn server<L>(
        &self,
        listener: L,
        metrics: &ServeMetrics,
    ) -> Result<Server<L>, ServerTlsError> {
        let limits = Limits {
            max_connections: self.max_connections,
            max_concurrent_streams: self.max_concurrent_streams,
            max_connection_age: self.max_connection_age,
            max_connection_age_grace: self.max_connection_age_grace,
            header_timeout: HEADER_TIMEOUT,
            keepalive_interval: KEEPALIVE,
            keepalive_timeout: KEEPALIVE,
        };
        let tls = TlsArgs {
            cert_file: self.tls.grpc_cert_file.clone(),
            key_file: self.tls.grpc_key_file.clone(),
            client_ca_file: self.tls.grpc_client_ca_file.clone(),
        };
        Ok(Server {
            listener,
            protocol: Protocol::Http2,
            tls: tls.server(&["h2"])?,
            metrics: metrics.of("grpc", &limits),
            limits,
        })
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
