//! The limits of an outbox, as flags.

use std::time::Duration;

use mesh_model::flags::{self, ByteSize};

use crate::spill::SpillArgs;

/// Limits of an outbox, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct OutboxArgs {
    /// Bytes in flight to a destination at which no further request is sent.
    #[arg(
        long = "outbox.max-in-flight-bytes",
        env = "PROMESH_OUTBOX_MAX_IN_FLIGHT_BYTES",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub max_in_flight_bytes: ByteSize,

    /// Maximum size of all batches in memory. A full outbox drops the oldest batches.
    #[arg(
        long = "outbox.max-bytes",
        env = "PROMESH_OUTBOX_MAX_BYTES",
        value_name = "SIZE",
        default_value = "512MiB"
    )]
    pub max_bytes: ByteSize,

    /// Time after which a pending batch is dropped. AMP rejects samples older than an hour.
    #[arg(
        long = "outbox.max-age",
        env = "PROMESH_OUTBOX_MAX_AGE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "55m"
    )]
    pub max_age: Duration,

    /// Maximum size of one request to an exporter. A larger batch is sent alone.
    #[arg(
        long = "outbox.max-request-bytes",
        env = "PROMESH_OUTBOX_MAX_REQUEST_BYTES",
        value_name = "SIZE",
        default_value = "4MiB"
    )]
    pub max_request_bytes: ByteSize,

    /// Minimum time between two requests to a destination with few bytes to send. New batches
    /// join the next request. 256 KiB do not wait, and a batch whose client waits for the
    /// outcome waits for at most 5ms. A number without a unit counts milliseconds.
    #[arg(
        long = "outbox.linger",
        alias = "outbox.linger-ms",
        env = "PROMESH_OUTBOX_LINGER",
        value_name = "DURATION",
        value_parser = flags::milliseconds,
        default_value = "250ms"
    )]
    pub linger: Duration,

    /// Time after which a destination is removed that no exporter has named since one did not.
    /// What is pending only for it expires. During a rollout some exporters have a destination
    /// and others do not.
    #[arg(
        long = "outbox.removed-destination-timeout",
        env = "PROMESH_OUTBOX_REMOVED_DESTINATION_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "5m"
    )]
    pub removed_destination_timeout: Duration,

    /// Destination that a push with --ack=stored waits for, by the name of its remote_write
    /// entry. Repeat the flag, or separate names with commas. By default a push waits for all
    /// destinations.
    #[arg(
        long = "outbox.required-destination",
        env = "PROMESH_OUTBOX_REQUIRED_DESTINATION",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub required_destinations: Vec<String>,

    /// Timeout of one request to an exporter. It doubles, up to 60s, while the backend
    /// responds but needs longer. It does not grow while the backend does not
    /// respond at all.
    #[arg(
        long = "outbox.deadline",
        env = "PROMESH_OUTBOX_DEADLINE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "8s"
    )]
    pub deadline: Duration,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub spill: SpillArgs,
}

/// Minimum timeout of one request to an exporter.
const MIN_EXPORT_TIMEOUT: Duration = Duration::from_secs(1);
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
    /// Timeout of one request, within its limits.
    pub(crate) fn export_timeout(&self) -> Duration {
        self.deadline.clamp(MIN_EXPORT_TIMEOUT, MAX_EXPORT_TIMEOUT)
    }
}
