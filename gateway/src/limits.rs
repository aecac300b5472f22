//! Limits on clients and their pushes.

use std::time::Duration;

use mesh_net::server;

/// Flags for the limits on clients and their pushes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Maximum size of a push on the wire, in bytes.
    #[arg(
        long = "otlp.max-compressed-bytes",
        env = "PROMESH_OTLP_MAX_COMPRESSED_BYTES",
        default_value_t = 16 << 20
    )]
    pub max_compressed_bytes: usize,

    /// Maximum size of a push after decompression, in bytes.
    #[arg(
        long = "otlp.max-bytes",
        env = "PROMESH_OTLP_MAX_BYTES",
        default_value_t = 64 << 20
    )]
    pub max_push_bytes: usize,

    /// Memory for reading and decoding all pushes, in bytes. If it is used up, the client
    /// must retry.
    #[arg(
        long = "otlp.memory-budget",
        env = "PROMESH_OTLP_MEMORY_BUDGET",
        default_value_t = 512 << 20
    )]
    pub memory_budget: usize,

    /// Maximum time that a data point may be ahead of the clock, in seconds.
    #[arg(
        long = "otlp.max-future",
        env = "PROMESH_OTLP_MAX_FUTURE",
        default_value_t = 600
    )]
    pub max_future_seconds: u64,

    /// Maximum number of connections per port. Further connections wait.
    #[arg(
        long = "otlp.max-connections",
        env = "PROMESH_OTLP_MAX_CONNECTIONS",
        default_value_t = 4096
    )]
    pub max_connections: usize,

    /// Maximum number of pushes in flight on one HTTP/2 connection.
    #[arg(
        long = "otlp.max-concurrent-streams",
        env = "PROMESH_OTLP_MAX_CONCURRENT_STREAMS",
        default_value_t = 100
    )]
    pub max_concurrent_streams: u32,

    /// Maximum number of pushes in flight in the gateway. Beyond it the client must retry.
    #[arg(
        long = "otlp.max-concurrent-pushes",
        env = "PROMESH_OTLP_MAX_CONCURRENT_PUSHES",
        default_value_t = 1000
    )]
    pub max_concurrent_pushes: usize,

    /// Maximum number of pushes in flight per client address. Beyond it the client must
    /// retry.
    #[arg(
        long = "otlp.max-concurrent-pushes-per-client",
        env = "PROMESH_OTLP_MAX_CONCURRENT_PUSHES_PER_CLIENT",
        default_value_t = 200
    )]
    pub max_concurrent_pushes_per_client: usize,

    /// Seconds after which a connection accepts no further pushes and closes, so that
    /// clients spread over new gateways.
    #[arg(
        long = "otlp.max-connection-age",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE",
        default_value_t = 300
    )]
    pub max_connection_age_seconds: u64,

    /// Seconds that a closing connection has to finish its pushes in flight.
    #[arg(
        long = "otlp.max-connection-age-grace",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE_GRACE",
        default_value_t = 60
    )]
    pub max_connection_age_grace_seconds: u64,

    /// Timeout in seconds for the first request, for an idle HTTP/1.1 connection, and for
    /// the headers of a request. SDKs push every 60 seconds.
    #[arg(
        long = "otlp.header-timeout",
        env = "PROMESH_OTLP_HEADER_TIMEOUT",
        default_value_t = 75
    )]
    pub header_timeout_seconds: u64,

    /// Timeout in seconds for the body of a push.
    #[arg(
        long = "otlp.body-timeout",
        env = "PROMESH_OTLP_BODY_TIMEOUT",
        default_value_t = 30
    )]
    pub body_timeout_seconds: u64,

    /// Seconds to wait for the backend's acknowledgement. Then the client must retry; the
    /// data is not delivered twice. A client's own timeout may be shorter.
    #[arg(
        long = "otlp.ack-timeout",
        env = "PROMESH_OTLP_ACK_TIMEOUT",
        default_value_t = 60
    )]
    pub ack_timeout_seconds: u64,
}

/// Interval of HTTP/2 keepalive pings to a silent client.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Timeout for the acknowledgement of a keepalive ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

// === impl LimitArgs ===

impl Default for LimitArgs {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: LimitArgs,
        }
        <Only as clap::Parser>::parse_from([""]).args
    }
}

impl LimitArgs {
    /// Limits of the server on each port.
    pub(crate) fn server(&self) -> server::Limits {
        server::Limits {
            max_connections: self.max_connections,
            max_concurrent_streams: self.max_concurrent_streams,
            max_connection_age: Duration::from_secs(self.max_connection_age_seconds),
            max_connection_age_grace: Duration::from_secs(self.max_connection_age_grace_seconds),
            header_timeout: Duration::from_secs(self.header_timeout_seconds),
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
        }
    }
}
