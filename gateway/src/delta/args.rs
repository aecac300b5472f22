//! Flags for delta temporality.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use mesh_model::flags::{self, ByteSize};
use mesh_net::endpoints::Endpoints;

/// Flags for delta temporality.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Delta temporality")]
pub struct DeltaArgs {
    /// Handling of sums and histograms of delta temporality: convert them to cumulative,
    /// or reject them.
    #[arg(
        long = "delta.mode",
        env = "PROMESH_DELTA_MODE",
        default_value = "cumulative"
    )]
    pub mode: Mode,

    /// Maximum number of streams with a total. The gateway rejects points of further
    /// streams.
    #[arg(
        id = "delta_max_streams",
        long = "delta.max-streams",
        env = "PROMESH_DELTA_MAX_STREAMS",
        default_value_t = 100_000
    )]
    pub max_streams: usize,

    /// Maximum memory of all totals. Beyond it the gateway rejects points of
    /// new streams.
    #[arg(
        id = "delta_max_bytes",
        long = "delta.max-bytes",
        env = "PROMESH_DELTA_MAX_BYTES",
        value_name = "SIZE",
        default_value = "256MiB"
    )]
    pub max_bytes: ByteSize,

    /// Time without a point after which the gateway evicts a stream's total. The next
    /// point starts a new total.
    #[arg(
        id = "delta_max_age",
        long = "delta.max-age",
        env = "PROMESH_DELTA_MAX_AGE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "5m"
    )]
    pub max_age: Duration,

    /// OTLP/gRPC addresses of all gateways that share the streams, including this one:
    /// HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or k8s:///NAMESPACE/SERVICE:PORT. Without
    /// it the gateway owns every stream, which is correct only for a single gateway.
    #[arg(
        long = "gateway.members",
        env = "PROMESH_GATEWAY_MEMBERS",
        requires = "gateway_self"
    )]
    pub members: Option<Endpoints>,

    /// Address of this gateway in the list of members.
    #[arg(
        id = "gateway_self",
        long = "gateway.self",
        env = "PROMESH_GATEWAY_SELF"
    )]
    pub self_address: Option<String>,

    /// PEM file with the CA certificates of the other gateways. With it this gateway
    /// connects to them by TLS and presents its own certificate.
    #[arg(long = "gateway.tls-ca-file", env = "PROMESH_GATEWAY_TLS_CA_FILE")]
    pub tls_ca_file: Option<PathBuf>,

    /// Server name expected in the certificates of the other gateways. The default is
    /// the host of their address.
    #[arg(
        long = "gateway.tls-server-name",
        env = "PROMESH_GATEWAY_TLS_SERVER_NAME",
        requires = "tls_ca_file"
    )]
    pub tls_server_name: Option<String>,
}

/// Handling of delta temporality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Convert to cumulative.
    #[default]
    Cumulative,
    /// Reject.
    Refuse,
}
