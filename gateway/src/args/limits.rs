//! What clients are allowed.

use std::time::Duration;

use mesh::serve;

/// What clients are allowed, as flags.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Largest push as it comes over the wire, in bytes.
    #[arg(
        long = "otlp.max-compressed-bytes",
        env = "PROMESH_OTLP_MAX_COMPRESSED_BYTES",
        default_value_t = 16 << 20
    )]
    pub max_compressed_bytes: usize,

    /// Largest push once decompressed, in bytes.
    #[arg(
        long = "otlp.max-bytes",
        env = "PROMESH_OTLP_MAX_BYTES",
        default_value_t = 64 << 20
    )]
    pub max_push_bytes: usize,

    /// Bytes of memory that all pushes may take while they are read and decoded;
    /// one that finds none is told to come back.
    #[arg(
        long = "otlp.memory-budget",
        env = "PROMESH_OTLP_MEMORY_BUDGET",
        default_value_t = 512 << 20
    )]
    pub memory_budget: usize,

    /// How far a point may be ahead of the clock, in seconds.
    #[arg(
        long = "otlp.max-future",
        env = "PROMESH_OTLP_MAX_FUTURE",
        default_value_t = 600
    )]
    pub max_future_seconds: u64,

    /// Connections to each port; one more waits.
    #[arg(
        long = "otlp.max-connections",
        env = "PROMESH_OTLP_MAX_CONNECTIONS",
        default_value_t = 4096
    )]
    pub max_connections: usize,

    /// Pushes that one HTTP/2 connection may have under way.
    #[arg(
        long = "otlp.max-concurrent-streams",
        env = "PROMESH_OTLP_MAX_CONCURRENT_STREAMS",
        default_value_t = 100
    )]
    pub max_concurrent_streams: u32,

    /// Pushes that the whole gateway may have under way; one more is told to come
    /// back.
    #[arg(
        long = "otlp.max-concurrent-pushes",
        env = "PROMESH_OTLP_MAX_CONCURRENT_PUSHES",
        default_value_t = 1000
    )]
    pub max_concurrent_pushes: usize,

    /// Pushes that one client, which is an address, may have under way; one more is
    /// told to come back.
    #[arg(
        long = "otlp.max-concurrent-pushes-per-client",
        env = "PROMESH_OTLP_MAX_CONCURRENT_PUSHES_PER_CLIENT",
        default_value_t = 200
    )]
    pub max_concurrent_pushes_per_client: usize,

    /// Seconds after which a connection is closed once its pushes are answered, so
    /// that new gateways get their share.
    #[arg(
        long = "otlp.max-connection-age",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE",
        default_value_t = 300
    )]
    pub max_connection_age_seconds: u64,

    /// Seconds that it is then given for them.
    #[arg(
        long = "otlp.max-connection-age-grace",
        env = "PROMESH_OTLP_MAX_CONNECTION_AGE_GRACE",
        default_value_t = 60
    )]
    pub max_connection_age_grace_seconds: u64,

    /// Seconds that a client has for its first request, and that an HTTP/1.1
    /// connection may be idle or take over a request's head. SDKs push every 60.
    #[arg(
        long = "otlp.header-timeout",
        env = "PROMESH_OTLP_HEADER_TIMEOUT",
        default_value_t = 75
    )]
    pub header_timeout_seconds: u64,

    /// Seconds that a client has for a push's body.
    #[arg(
        long = "otlp.body-timeout",
        env = "PROMESH_OTLP_BODY_TIMEOUT",
        default_value_t = 30
    )]
    pub body_timeout_seconds: u64,

    /// Seconds after which a push whose fate is not known yet is told to come back;
    /// it is not delivered twice for that. A client's own timeout may be shorter.
    #[arg(
        long = "otlp.ack-timeout",
        env = "PROMESH_OTLP_ACK_TIMEOUT",
        default_value_t = 60
    )]
    pub ack_timeout_seconds: u64,
}

/// A silent HTTP/2 client is asked this often whether it is still there, and has
/// this long to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
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
    /// What each port allows.
    pub(crate) fn serve(&self) -> serve::Limits {
        serve::Limits {
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
