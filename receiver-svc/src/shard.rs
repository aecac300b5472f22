//! Which targets are this receiver's: those that [`mesh::shard`] says.
//!
//! When the members change, an owner stops at once and a new one waits for
//! [`GRACE`].

use std::time::Duration;

use mesh::endpoints::Endpoints;

pub use mesh::shard::{Shard, Shards, alone, follow};

/// A new owner waits this long before its first scrape of a target, so that the
/// old one, which may learn of the change later, has stopped.
pub const GRACE: Duration = Duration::from_secs(3);

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
}
