//! Which targets are this receiver's: by rendezvous ([`mesh::shard`]), evened out by
//! [`Assignment`].
//!
//! When it changes, a new owner takes the target over as [`handover`](crate::handover)
//! says.

mod assignment;

use std::time::Duration;

use mesh::endpoints::Endpoints;

pub use self::assignment::Assignment;
pub use mesh::shard::{Shard, Shards, alone, follow};

/// Members of a replica group, as flags.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sharing targets")]
pub struct ShardArgs {
    /// The receivers of this replica group, this one among them:
    /// HOST:PORT[,HOST:PORT…], dns:///HOST:PORT or k8s:///NAMESPACE/SERVICE:PORT.
    /// Without it this receiver scrapes all targets.
    #[arg(
        long = "shard.members",
        env = "PROMESH_SHARD_MEMBERS",
        requires = "self_address"
    )]
    pub members: Option<Endpoints>,

    /// What this receiver is called among the members.
    #[arg(id = "self_address", long = "shard.self", env = "PROMESH_SHARD_SELF")]
    pub self_address: Option<String>,

    /// Seconds for which the samples of a target that another receiver has scraped are
    /// held back where that one does not answer: what it has sent may be under way. It
    /// is to be longer than --outbox.deadline.
    #[arg(
        long = "shard.handover-timeout",
        env = "PROMESH_SHARD_HANDOVER_TIMEOUT",
        default_value_t = 10
    )]
    pub handover_timeout_seconds: u64,

    /// Seconds for which they are held back for a receiver that does not answer and may be
    /// back with older ones: it had batches on its disk (--outbox.spill-dir), or was about
    /// to, or it is among the members that were found ready still, and may be cut off from
    /// this receiver alone. What it scrapes it is then presumed to scrape as long. Nothing
    /// is on the disk of one whose pod Kubernetes lists no more (k8s:///…).
    #[arg(
        long = "shard.away-timeout",
        env = "PROMESH_SHARD_AWAY_TIMEOUT",
        default_value_t = 60
    )]
    pub away_timeout_seconds: u64,
}

// === impl ShardArgs ===

impl ShardArgs {
    /// How long a receiver that does not answer may have Exports under way.
    pub fn handover_timeout(&self) -> Duration {
        Duration::from_secs(self.handover_timeout_seconds)
    }

    /// How long a receiver may be away that has something to deliver once it is back.
    pub fn away_timeout(&self) -> Duration {
        Duration::from_secs(self.away_timeout_seconds)
    }
}
