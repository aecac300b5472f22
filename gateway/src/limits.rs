//! Limits on clients and their pushes.

use std::time::Duration;

use mesh_model::flags::{self, ByteSize};
use mesh_net::server;

/// Flags for the limits on clients and their pushes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Maximum size of a push on the wire.
    #[arg(
        long = "otlp.max-compressed-bytes",
        env = "PROMESH_OTLP_MAX_COMPRESSED_BYTES",
        value_name = "SIZE",
        default_value = "16MiB"
    )]
    pub max_compressed_bytes: ByteSize,

    /// Maximum size of a push after decompression.
    #[arg(
        long = "otlp.max-bytes",
        env = "PROMESH_OTLP_MAX_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub max_push_bytes: ByteSize,

    /// Memory for reading and decoding all pushes. If it is used up, the client must retry.
    #[arg(
        long = "otlp.memory-budget",
        env = "PROMESH_OTLP_MEMORY_BUDGET",
        value_name = "SIZE",
        default_value = "512MiB"
    )]
    pub memory_budget: ByteSize,

    /// Maximum time that a data point may be ahead of the clock.
    #[arg(
        long = "otlp.max-future",
        env = "PROMESH_OTLP_MAX_FUTURE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10m"
    )]
    pub max_future: Duration,

    /// Maximum number of connections per port. Further connections wait.
    #[arg(
        long = "otlp.max-connections",
        env = "PROMESH_OTLP_MAX_CONNECTIONS",
        default_value_t = 4096
    )]
    pub max_connections: usize,

    /// Maximum number of open connections per client address; further ones are closed.
    #[arg(
        long = "otlp.max-connections-per-client",
        env = "PROMESH_OTLP_MAX_CONNECTIONS_PER_CLIENT",
        default_value_t = 2048
    )]
    pub max_connections_per_client: usize,

    /// Maximum number of requests in flight on all connections, until their responses have
    /// been read. Further ones are answered with 503.
    #[arg(
        long = "otlp.max-requests",
        env = "PROMESH_OTLP_MAX_REQUESTS",
        default_value_t = 8192
    )]
    pub max_requests: usize,

    /// Time in which a client must read a response. After it the connection is closed.
    #[arg(
        long = "otlp.response-timeout",
        env = "PROMESH_OTLP_RESPONSE_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "30s"
    )]
    pub response_timeout: Duration,

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

    /// Time after which a connection accepts no further pushes and closes, so that
    /// clients spread over new gateways.
    #[arg(
        long = "otlp.max-connection-age",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "5m"
    )]
    pub max_connection_age: Duration,

    /// Time that a closing connection has to finish its pushes in flight.
    #[arg(
        long = "otlp.max-connection-age-grace",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE_GRACE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "60s"
    )]
    pub max_connection_age_grace: Duration,

    /// Timeout for the first request, for an idle HTTP/1.1 connection, and for
    /// the headers of a request. SDKs push every 60 seconds.
    #[arg(
        long = "otlp.header-timeout",
        env = "PROMESH_OTLP_HEADER_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "75s"
    )]
    pub header_timeout: Duration,

    /// Timeout for the body of a push.
    #[arg(
        long = "otlp.body-timeout",
        env = "PROMESH_OTLP_BODY_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "30s"
    )]
    pub body_timeout: Duration,

    /// Maximum number of bytes that are read of a refused push and discarded, so that the client
    /// sees why it was refused.
    #[arg(
        long = "otlp.max-discard-bytes",
        env = "PROMESH_OTLP_MAX_DISCARD_BYTES",
        value_name = "SIZE",
        default_value = "256MiB"
    )]
    pub max_discard_bytes: ByteSize,

    /// Maximum time for which a refused push is read and discarded.
    #[arg(
        long = "otlp.discard-timeout",
        env = "PROMESH_OTLP_DISCARD_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "30s"
    )]
    pub discard_timeout: Duration,

    /// Time to wait for the backend's acknowledgement. Then the client must retry; the
    /// data is not delivered twice. A client's own timeout may be shorter.
    #[arg(
        long = "otlp.ack-timeout",
        env = "PROMESH_OTLP_ACK_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "60s"
    )]
    pub ack_timeout: Duration,
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
            max_connections_per_client: self.max_connections_per_client,
            max_requests: self.max_requests,
            response_timeout: self.response_timeout,
            discard: server::DiscardLimits {
                max_bytes: self.max_discard_bytes.0,
                timeout: self.discard_timeout,
            },
            max_concurrent_streams: self.max_concurrent_streams,
            max_connection_age: self.max_connection_age,
            max_connection_age_grace: self.max_connection_age_grace,
            header_timeout: self.header_timeout,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
        }
    }
}
