//! Which targets are mine.
//!
//! The receivers of a replica group scrape everything once: a target belongs to
//! the member with the highest hash of (member, target), so that all members agree
//! without a word, and one that comes or goes moves only its share.
//!
//! A receiver that is not among the members, as it is not ready yet or no longer,
//! has no targets: the others scrape them all, and two must never scrape one
//! (law 1). When the members change, an owner stops at once and a new one waits
//! for [`GRACE`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mesh::endpoints::{Addresses, Endpoints};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

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

/// The members of a replica group at one moment, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Hashes of the others' names; empty where this receiver is alone.
    others: Arc<[u64]>,
    /// The hash of its own, where it is one of the members.
    me: Option<u64>,
}

/// The shard of this receiver, whenever it has changed; `None` until the members
/// are first known.
pub type Shards = watch::Receiver<Option<Shard>>;

// === impl Shard ===

impl Shard {
    /// The shard of `me` among `members`.
    pub fn new(me: &str, members: &BTreeSet<String>) -> Self {
        let others = members.iter().filter(|member| *member != me);
        Self {
            others: others.map(|member| hash(member)).collect(),
            me: members.contains(me).then(|| hash(me)),
        }
    }

    /// Whether the target with this identity hash is this receiver's.
    pub fn owns(&self, target: u64) -> bool {
        let Some(me) = self.me else {
            return false;
        };
        let mine = score(me, target);
        self.others.iter().all(|other| score(*other, target) < mine)
    }

    /// The shard of a receiver that has no others beside it.
    pub fn alone() -> Self {
        Self {
            others: Arc::default(),
            me: Some(0),
        }
    }

    /// Whether this receiver is one of the members.
    pub fn is_member(&self) -> bool {
        self.me.is_some()
    }

    /// Whether there are others, from which targets may come.
    pub fn has_others(&self) -> bool {
        !self.others.is_empty()
    }
}

/// Follows the members of the group.
pub fn follow(me: String, mut members: Addresses) -> Shards {
    let (sender, receiver) = watch::channel(None);
    let publish = move |sender: &watch::Sender<Option<Shard>>, members: &Addresses| {
        if let Some(known) = members.borrow().as_ref() {
            let shard = Shard::new(&me, known);
            sender.send_if_modified(|last| {
                let changed = last.as_ref() != Some(&shard);
                *last = Some(shard);
                changed
            });
        }
    };
    publish(&sender, &members);
    tokio::spawn(async move {
        // A list never changes: its sender is gone from the start.
        while members.changed().await.is_ok() && !sender.is_closed() {
            publish(&sender, &members);
        }
        sender.closed().await;
    });
    receiver
}

/// The shard of a receiver that is alone.
pub fn alone() -> Shards {
    let (sender, receiver) = watch::channel(Some(Shard::alone()));
    tokio::spawn(async move { sender.closed().await });
    receiver
}

fn hash(member: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(member.as_bytes())
}

fn score(member: u64, target: u64) -> u64 {
    xxh3_64_with_seed(&target.to_le_bytes(), member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: usize) -> BTreeSet<String> {
        (0..n).map(|i| format!("10.0.0.{i}:8080")).collect()
    }

    fn owners(members: &BTreeSet<String>, target: u64) -> Vec<String> {
        let all = members.iter();
        all.filter(|m| Shard::new(m, members).owns(target))
            .cloned()
            .collect()
    }

    #[test]
    fn every_target_has_one_owner_and_the_spread_is_even() {
        let members = members(4);
        let mut counts = std::collections::BTreeMap::new();
        for target in 0..4000u64 {
            let owners = owners(&members, xxhash_rust::xxh3::xxh3_64(&target.to_le_bytes()));
            assert_eq!(owners.len(), 1);
            *counts.entry(owners[0].clone()).or_insert(0) += 1;
        }
        assert!(
            counts.values().all(|n| (900..=1100).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_the_share_of_a_new_member_moves() {
        let (before, after) = (members(4), members(5));
        let moved = (0..4000u64).filter(|t| owners(&before, *t) != owners(&after, *t));
        let moved: Vec<_> = moved.collect();
        assert!((700..=900).contains(&moved.len()), "{}", moved.len());
        assert!(
            moved
                .iter()
                .all(|t| owners(&after, *t) == ["10.0.0.4:8080"])
        );
    }

    #[test]
    fn a_receiver_that_the_others_do_not_know_has_no_targets() {
        let known = members(2);
        let stranger = Shard::new("10.0.0.9:8080", &known);
        assert!(!stranger.is_member() && !(0..1000).any(|target| stranger.owns(target)));
        assert!(Shard::alone().owns(7) && Shard::alone().is_member());
    }

    #[tokio::test]
    async fn members_are_followed() {
        let (sender, addresses) = watch::channel(None);
        let mut shards = follow("10.0.0.0:8080".to_owned(), addresses);
        assert_eq!(*shards.borrow(), None);
        sender.send_replace(Some(members(3)));
        let shard = shards.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(shard, Some(Shard::new("10.0.0.0:8080", &members(3))));
    }
}
