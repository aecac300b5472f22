//! Event that acknowledges a push.

use clap::ValueEnum;

/// Event after which the gateway acknowledges a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// The backend has acknowledged or rejected the data.
    #[default]
    Stored,
    /// The data is in the outbox.
    Accepted,
}
