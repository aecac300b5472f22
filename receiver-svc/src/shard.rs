//! Assignment of targets to the receivers of a replica group: rendezvous hashing
//! ([`mesh_kubernetes::shard`]), evened out by [`Assignment`].
//!
//! When the assignment changes, the new owner takes the target over through the
//! [`handover`](crate::handover).

mod assignment;
mod peering;

use std::time::Duration;

use mesh_model::flags;
use mesh_net::endpoints::Endpoints;

pub use self::{
    assignment::Assignment,
    peering::{PeeringArgs, PeeringError},
};
pub use mesh_kubernetes::shard::{Shard, Shards, alone, follow};

/// Flags of the replica group.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sharing targets")]
pub struct ShardArgs {
    /// Receivers of this replica group, including this one: HOST:PORT[,HOST:PORT…],
    /// dns:///HOST:PORT or k8s:///NAMESPACE/SERVICE:PORT. If unset, this receiver scrapes all
    /// targets.
    #[arg(
        long = "shard.members",
        env = "PROMESH_SHARD_MEMBERS",
        requires = "self_address"
    )]
    pub members: Option<Endpoints>,

    /// Name of this receiver among the members: the address at which the others call it.
    #[arg(id = "self_address", long = "shard.self", env = "PROMESH_SHARD_SELF")]
    pub self_address: Option<String>,

    /// Time for which the samples of a target are held back if its previous owner does not
    /// answer, since older samples may be in flight. Must be longer than --outbox.deadline.
    #[arg(
        long = "shard.handover-timeout",
        env = "PROMESH_SHARD_HANDOVER_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10s"
    )]
    pub handover_timeout: Duration,

    /// Time for which the samples of a target are held back if its previous owner does not
    /// answer and may return with older samples. That is the case if it had batches on its disk
    /// (--outbox.spill-dir), or if it is still a ready member and may be partitioned from this
    /// receiver alone. A ready member is presumed to go on scraping for the same time. With
    /// k8s:///…, the receiver does not wait for the disk of a deleted pod.
    #[arg(
        long = "shard.away-timeout",
        env = "PROMESH_SHARD_AWAY_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "60s"
    )]
    pub away_timeout: Duration,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show the text as the program's description"
    )]
    pub peering: PeeringArgs,
}
