//! What becomes of delta temporality, as flags.

use std::path::PathBuf;

use clap::ValueEnum;
use mesh::endpoints::Endpoints;

/// What becomes of delta temporality, as flags.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Delta temporality")]
pub struct DeltaArgs {
    /// What becomes of sums and histograms of delta temporality: they are summed up
    /// to cumulative ones, or refused.
    #[arg(
        long = "delta.mode",
        env = "PROMESH_DELTA_MODE",
        default_value = "cumulative"
    )]
    pub mode: Mode,

    /// Streams whose totals are kept; a point of one more is refused.
    #[arg(
        id = "delta_max_streams",
        long = "delta.max-streams",
        env = "PROMESH_DELTA_MAX_STREAMS",
        default_value_t = 100_000
    )]
    pub max_streams: usize,

    /// Bytes that the totals may take; a point of a new stream is refused beyond.
    #[arg(
        id = "delta_max_bytes",
        long = "delta.max-bytes",
        env = "PROMESH_DELTA_MAX_BYTES",
        default_value_t = 256 << 20
    )]
    pub max_bytes: usize,

    /// Seconds after which the total of a stream is forgotten that had no point; the
    /// next one starts a new total.
    #[arg(
        id = "delta_max_age",
        long = "delta.max-age",
        env = "PROMESH_DELTA_MAX_AGE",
        default_value_t = 300
    )]
    pub max_age_seconds: u64,

    /// The gateways' OTLP/gRPC addresses, this one's among them, which share the
    /// streams: HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or
    /// k8s:///NAMESPACE/SERVICE:PORT. Without it this gateway sums all streams it
    /// gets, which is right only where there is no other.
    #[arg(
        long = "gateway.members",
        env = "PROMESH_GATEWAY_MEMBERS",
        requires = "gateway_self"
    )]
    pub members: Option<Endpoints>,

    /// What this gateway is called among the members.
    #[arg(
        id = "gateway_self",
        long = "gateway.self",
        env = "PROMESH_GATEWAY_SELF"
    )]
    pub self_address: Option<String>,

    /// PEM file with the authorities of the other gateways' certificates. With it
    /// they are reached by TLS, and shown this gateway's own certificate.
    #[arg(long = "gateway.tls-ca-file", env = "PROMESH_GATEWAY_TLS_CA_FILE")]
    pub tls_ca_file: Option<PathBuf>,

    /// Name that their certificates are verified against instead of their address.
    #[arg(
        long = "gateway.tls-server-name",
        env = "PROMESH_GATEWAY_TLS_SERVER_NAME",
        requires = "tls_ca_file"
    )]
    pub tls_server_name: Option<String>,
}

/// What becomes of delta temporality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// It is summed up.
    #[default]
    Cumulative,
    /// It is refused.
    Refuse,
}
