//! The limits of an outbox, as flags.

use std::time::Duration;

use crate::spill::SpillArgs;

/// Limits of an outbox, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct OutboxArgs {
    /// Number of lanes, which is the maximum number of requests in flight.
    #[arg(
        long = "outbox.lanes",
        env = "PROMESH_OUTBOX_LANES",
        default_value_t = 32
    )]
    pub lanes: u16,

    /// Maximum bytes of batches in memory. A full outbox drops the oldest batches.
    #[arg(long = "outbox.max-bytes", env = "PROMESH_OUTBOX_MAX_BYTES", default_value_t = 512 << 20)]
    pub max_bytes: usize,

    /// Seconds after which a pending batch is dropped. AMP rejects samples older than an
    /// hour.
    #[arg(long = "outbox.max-age", env = "PROMESH_OUTBOX_MAX_AGE", default_value_t = 55 * 60)]
    pub max_age_seconds: u64,

    /// Maximum bytes of one request to an exporter. A larger batch is sent alone.
    #[arg(long = "outbox.max-request-bytes", env = "PROMESH_OUTBOX_MAX_REQUEST_BYTES", default_value_t = 4 << 20)]
    pub max_request_bytes: usize,

    /// Minimum milliseconds between two requests of a lane with few bytes to send. New
    /// batches join the next request. A lane does not wait with 256 KiB or more, or with a
    /// batch whose client waits for the outcome.
    #[arg(
        long = "outbox.linger-ms",
        env = "PROMESH_OUTBOX_LINGER_MS",
        default_value_t = 250
    )]
    pub linger_ms: u64,

    /// Timeout of one request to an exporter, in seconds. It doubles, up to 60, while the
    /// backend responds but needs longer. It does not grow while the backend does not
    /// respond at all.
    #[arg(
        long = "outbox.deadline",
        env = "PROMESH_OUTBOX_DEADLINE",
        default_value_t = 8
    )]
    pub deadline_seconds: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub spill: SpillArgs,
}

/// Maximum timeout of one request to an exporter.
pub(crate) const MAX_EXPORT_TIMEOUT: Duration = Duration::from_secs(60);

// === impl OutboxArgs ===

impl Default for OutboxArgs {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: OutboxArgs,
        }
        <Only as clap::Parser>::parse_from([""]).args
    }
}

impl OutboxArgs {
    pub(crate) fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.clamp(1, MAX_EXPORT_TIMEOUT.as_secs()))
    }
}
