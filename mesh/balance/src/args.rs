//! Command-line flags of the exporter client.

use std::time::Duration;

use mesh_model::flags::{self, ByteSize};
use mesh_net::endpoints::Endpoints;
use mesh_wire::compression::Compression;

use crate::ExporterTlsArgs;

/// Flags that say how to reach the exporters.
#[derive(Clone, Debug, clap::Args)]
pub struct ExporterArgs {
    /// Addresses of the exporters: HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or
    /// k8s:///NAMESPACE/SERVICE:PORT.
    #[arg(long = "exporter.endpoints", env = "PROMESH_EXPORTER_ENDPOINTS")]
    pub endpoints: Endpoints,

    /// Compression of requests to exporters.
    #[arg(
        long = "exporter.compression",
        env = "PROMESH_EXPORTER_COMPRESSION",
        default_value = "zstd"
    )]
    pub compression: Compression,

    /// Interval between two pings of an exporter's connection. A connection whose ping is
    /// not acknowledged within the same time is closed. 0 disables pings. A number without
    /// a unit counts milliseconds.
    #[arg(
        long = "exporter.ping-interval",
        alias = "exporter.ping-interval-ms",
        env = "PROMESH_EXPORTER_PING_INTERVAL",
        value_name = "DURATION",
        value_parser = flags::milliseconds,
        default_value = "800ms"
    )]
    pub ping_interval: Duration,

    /// Maximum time a request waits for a connected exporter. After that the request stays
    /// in the outbox and is retried. A number without a unit counts milliseconds.
    #[arg(
        long = "exporter.failfast",
        alias = "exporter.failfast-ms",
        env = "PROMESH_EXPORTER_FAILFAST",
        value_name = "DURATION",
        value_parser = flags::milliseconds,
        default_value = "1s"
    )]
    pub failfast: Duration,

    /// Maximum size of one request, at most that of the exporters
    /// (`--grpc.max-message-bytes`). Data that does not fit is refused, not sent.
    #[arg(
        long = "exporter.max-message-bytes",
        env = "PROMESH_EXPORTER_MAX_MESSAGE_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub max_message_bytes: ByteSize,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the help of the group"
    )]
    pub tls: ExporterTlsArgs,
}
