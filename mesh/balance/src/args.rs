//! Command-line flags of the exporter client.

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

    /// Interval between two pings of an exporter's connection, in milliseconds. A
    /// connection whose ping is not acknowledged within the same time is closed. 0
    /// disables pings.
    #[arg(
        long = "exporter.ping-interval-ms",
        env = "PROMESH_EXPORTER_PING_INTERVAL_MS",
        default_value_t = 800
    )]
    pub ping_interval_ms: u64,

    /// Maximum time a request waits for a connected exporter, in milliseconds. After
    /// that the request stays in the outbox and is retried.
    #[arg(
        long = "exporter.failfast-ms",
        env = "PROMESH_EXPORTER_FAILFAST_MS",
        default_value_t = 1000
    )]
    pub failfast_ms: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the help of the group"
    )]
    pub tls: ExporterTlsArgs,
}
