//! Command-line flags and environment variables.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use mesh_model::flags::{self, ByteSize};
use mesh_net::{
    listen::ListenAddress,
    server::{DiscardLimits, Limits, Protocol, ServeMetrics, Server, ServerTlsError, TlsArgs},
};
use mesh_service::{reload::WatchArgs, telemetry::LogArgs, web::WebArgs};

use crate::{
    destination::Options, ingest::IngestLimits, memory::MemoryLimits, service::MessageLimits,
    translate::limits::LabelLimits,
};

/// Translates OTLP to signed Prometheus remote write.
///
/// Receives Exports from receivers, gateways and any OTLP/gRPC sender. Batches them
/// into remote-write requests to the destinations of the `remote_write` section.
/// Replies to each Export only after all destinations have responded for all of its
/// samples. The exporter is stateless: any number of exporters can run side by side,
/// and each can stop at any time.
#[derive(Clone, Debug, Parser)]
#[command(name = "exporter-svc", version = mesh_service::VERSION, after_help = flags::NOTATION)]
pub struct Args {
    /// Prometheus configuration file. The exporter uses `remote_write`, `otlp` and
    /// `global.external_labels`.
    #[arg(
        long = "config.file",
        env = "PROMESH_CONFIG_FILE",
        default_value = "prometheus.yml"
    )]
    pub config_file: PathBuf,

    /// Watch of the configuration file.
    #[command(flatten)]
    pub config_watch: WatchArgs,

    /// Address of the OTLP/gRPC port.
    #[arg(
        long = "grpc.listen-address",
        env = "PROMESH_GRPC_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:4317"
    )]
    pub grpc_listen_address: ListenAddress,

    /// Address of the admin port, which serves /metrics, /destinations, /-/healthy,
    /// /-/ready and /-/reload.
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

    /// Time that a stopping exporter waits for the Exports in flight.
    #[arg(
        long = "shutdown.timeout",
        env = "PROMESH_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "60s"
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

/// Flags of the OTLP/gRPC port.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "OTLP/gRPC")]
pub struct GrpcArgs {
    /// Maximum size of one Export, both compressed and decompressed.
    #[arg(
        long = "grpc.max-message-bytes",
        env = "PROMESH_GRPC_MAX_MESSAGE_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub max_message_bytes: ByteSize,

    /// Memory limit for all Exports in flight. The exporter rejects an Export
    /// beyond it with RESOURCE_EXHAUSTED and a retry delay.
    #[arg(
        long = "ingest.max-bytes",
        env = "PROMESH_INGEST_MAX_BYTES",
        value_name = "SIZE",
        default_value = "512MiB"
    )]
    pub budget_bytes: ByteSize,

    /// Memory limit for one Export and its translation. A larger one is refused for good.
    #[arg(
        long = "ingest.max-export-bytes",
        env = "PROMESH_INGEST_MAX_EXPORT_BYTES",
        value_name = "SIZE",
        default_value = "256MiB"
    )]
    pub export_bytes: ByteSize,

    /// Maximum number of labels of a pushed series, with its name and the labels that the
    /// exporter adds. AMP's limit. The data points of other series are rejected.
    #[arg(
        long = "ingest.max-labels",
        env = "PROMESH_INGEST_MAX_LABELS",
        default_value_t = LabelLimits::default().labels
    )]
    pub max_labels: usize,

    /// Maximum length of a label name of a pushed series. AMP's limit.
    #[arg(
        long = "ingest.max-label-name-bytes",
        env = "PROMESH_INGEST_MAX_LABEL_NAME_BYTES",
        value_name = "SIZE",
        default_value = "1KiB"
    )]
    pub max_label_name_bytes: ByteSize,

    /// Maximum length of a label value of a pushed series, and of its metric name. AMP's
    /// limit.
    #[arg(
        long = "ingest.max-label-value-bytes",
        env = "PROMESH_INGEST_MAX_LABEL_VALUE_BYTES",
        value_name = "SIZE",
        default_value = "2KiB"
    )]
    pub max_label_value_bytes: ByteSize,

    /// Maximum number of Exports in flight on all connections. The exporter rejects a further
    /// one with RESOURCE_EXHAUSTED, before it reads it.
    #[arg(
        long = "ingest.max-exports",
        env = "PROMESH_INGEST_MAX_EXPORTS",
        default_value_t = 4096
    )]
    pub max_exports: usize,

    /// Time in which the whole message of an Export must arrive.
    #[arg(
        long = "grpc.body-timeout",
        env = "PROMESH_GRPC_BODY_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10s"
    )]
    pub body_timeout: Duration,

    /// Maximum number of Exports in flight per connection.
    #[arg(
        long = "grpc.max-concurrent-streams",
        env = "PROMESH_GRPC_MAX_CONCURRENT_STREAMS",
        default_value_t = 256
    )]
    pub max_concurrent_streams: u32,

    /// Maximum number of open connections; further connections wait.
    #[arg(
        long = "grpc.max-connections",
        env = "PROMESH_GRPC_MAX_CONNECTIONS",
        default_value_t = 4096
    )]
    pub max_connections: usize,

    /// Maximum number of open connections per client address; further ones are closed.
    #[arg(
        long = "grpc.max-connections-per-client",
        env = "PROMESH_GRPC_MAX_CONNECTIONS_PER_CLIENT",
        default_value_t = 1024
    )]
    pub max_connections_per_client: usize,

    /// Maximum number of requests in flight on all connections, until their responses have
    /// been read. Further ones are answered with 503.
    #[arg(
        long = "grpc.max-requests",
        env = "PROMESH_GRPC_MAX_REQUESTS",
        default_value_t = 8192
    )]
    pub max_requests: usize,

    /// Time in which a client must read a response. After it the connection is closed.
    #[arg(
        long = "grpc.response-timeout",
        env = "PROMESH_GRPC_RESPONSE_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "30s"
    )]
    pub response_timeout: Duration,

    /// Timeout of an Export whose sender sets no deadline.
    #[arg(
        long = "grpc.timeout",
        env = "PROMESH_GRPC_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10s"
    )]
    pub timeout: Duration,

    /// Time after which the exporter closes a connection gracefully, so that senders
    /// spread over new exporters.
    #[arg(
        long = "grpc.max-connection-age",
        env = "PROMESH_GRPC_MAX_CONNECTION_AGE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10m"
    )]
    pub max_connection_age: Duration,

    /// Time that Exports in flight have to finish on a connection that is being
    /// closed. It should exceed the longest Export timeout, which is 60 seconds for the
    /// mesh's own services.
    #[arg(
        long = "grpc.max-connection-age-grace",
        env = "PROMESH_GRPC_MAX_CONNECTION_AGE_GRACE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "70s"
    )]
    pub max_connection_age_grace: Duration,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the help of the group"
    )]
    pub tls: GrpcTlsArgs,
}

/// TLS flags of the OTLP/gRPC port.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct GrpcTlsArgs {
    /// PEM file with the server certificate and its chain. The exporter reloads it when
    /// it changes. TLS is off without it.
    #[arg(
        long = "grpc.tls.cert-file",
        env = "PROMESH_GRPC_TLS_CERT_FILE",
        requires = "grpc_key_file"
    )]
    pub grpc_cert_file: Option<PathBuf>,

    /// PEM file with the private key of the server certificate.
    #[arg(
        long = "grpc.tls.key-file",
        env = "PROMESH_GRPC_TLS_KEY_FILE",
        requires = "grpc_cert_file"
    )]
    pub grpc_key_file: Option<PathBuf>,

    /// PEM file with the CA certificates that sign client certificates. If set, every
    /// sender must present a client certificate (mTLS).
    #[arg(
        long = "grpc.tls.client-ca-file",
        env = "PROMESH_GRPC_TLS_CLIENT_CA_FILE",
        requires = "grpc_cert_file"
    )]
    pub grpc_client_ca_file: Option<PathBuf>,
}

/// Timeout of a connection's TLS handshake and first request headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of HTTP/2 keepalive pings, and the timeout of each ping.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Flags of the remote-write destinations.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Remote write")]
pub struct RemoteWriteArgs {
    /// Allow plain http to hosts other than localhost.
    #[arg(
        long = "remote-write.allow-http",
        env = "PROMESH_REMOTE_WRITE_ALLOW_HTTP"
    )]
    pub allow_http: bool,

    /// Time that series wait for others to share a request. A number without a unit counts
    /// milliseconds.
    #[arg(
        long = "remote-write.linger",
        alias = "remote-write.linger-ms",
        env = "PROMESH_REMOTE_WRITE_LINGER",
        value_name = "DURATION",
        value_parser = flags::milliseconds,
        default_value = "20ms"
    )]
    pub linger: Duration,

    /// Maximum size of one request, before compression.
    #[arg(
        long = "remote-write.max-bytes",
        env = "PROMESH_REMOTE_WRITE_MAX_BYTES",
        value_name = "SIZE",
        default_value = "1MiB"
    )]
    pub request_bytes: ByteSize,

    /// Maximum size of the label cache of each destination.
    #[arg(
        long = "remote-write.cache-bytes",
        env = "PROMESH_REMOTE_WRITE_CACHE_BYTES",
        value_name = "SIZE",
        default_value = "256MiB"
    )]
    pub cache_bytes: ByteSize,

    /// Leave the external label `cluster` out of pushed series.
    #[arg(
        long = "remote-write.no-cluster-on-pushes",
        env = "PROMESH_REMOTE_WRITE_NO_CLUSTER_ON_PUSHES"
    )]
    pub no_cluster_on_pushes: bool,
}

// === impl GrpcArgs ===

impl GrpcArgs {
    /// Limits of Exports in flight.
    pub fn limits(&self) -> IngestLimits {
        IngestLimits {
            memory: MemoryLimits {
                all: self.budget_bytes.in_memory(),
                one: self.export_bytes.in_memory(),
            },
            timeout: self.timeout,
        }
    }

    /// Limits of the messages on the port.
    pub fn messages(&self) -> MessageLimits {
        MessageLimits {
            bytes: self.max_message_bytes.in_memory(),
            timeout: self.body_timeout,
            in_flight: self.max_exports,
        }
    }

    /// Limits of the labels of pushed series.
    pub fn labels(&self) -> LabelLimits {
        LabelLimits {
            labels: self.max_labels,
            name_bytes: self.max_label_name_bytes.in_memory(),
            value_bytes: self.max_label_value_bytes.in_memory(),
        }
    }

    /// Builds the gRPC server for a listener. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Returns an error if a TLS file is missing or invalid.
    pub fn server<L>(
        &self,
        listener: L,
        metrics: &ServeMetrics,
    ) -> Result<Server<L>, ServerTlsError> {
        let limits = Limits {
            max_connections: self.max_connections,
            max_connections_per_client: self.max_connections_per_client,
            max_requests: self.max_requests,
            response_timeout: self.response_timeout,
            // HTTP/2 resets the stream instead.
            discard: DiscardLimits::default(),
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
            metrics: metrics.for_listener("grpc", &limits),
            limits,
        })
    }
}

// === impl RemoteWriteArgs ===

impl RemoteWriteArgs {
    /// Options that all destinations share.
    pub fn options(&self, label_limits: LabelLimits) -> Options {
        Options {
            request_bytes: self.request_bytes.in_memory(),
            linger: self.linger,
            allow_http: self.allow_http,
            cache_bytes: self.cache_bytes.in_memory(),
            cluster_on_pushes: !self.no_cluster_on_pushes,
            label_limits,
            connector: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_definition_is_valid() {
        Args::command().debug_assert();
    }
}
