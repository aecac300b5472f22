//! Which of several members something belongs to.
//!
//! The receivers of a replica group scrape everything once, and each delta stream
//! is summed by one gateway. Who it is needs no coordinator: the member with the
//! highest hash of (member, key), so that all members agree without a word, and one
//! that comes or goes moves only its share (rendezvous hashing).
//!
//! A service that is not among the members, as it is not ready yet or no longer,
//! owns nothing: the others have it all, and two must never own one key (law 1).

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use mesh_net::endpoints::Addresses;

/// The members at one moment, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// By name.
    members: Arc<[Member]>,
    /// Where this service is among them.
    me: Option<usize>,
}

/// One of those who share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    name: Arc<str>,
    hash: u64,
}

/// The shard of this service, whenever it has changed; `None` until the members
/// are first known.
pub type Shards = watch::Receiver<Option<Shard>>;

// === impl Shard ===

impl Shard {
    /// The shard of `me` among `members`.
    pub fn new(me: &str, members: &BTreeSet<String>) -> Self {
        Self {
            me: members.iter().position(|member| member == me),
            members: members.iter().map(|name| Member::new(name)).collect(),
        }
    }

    /// Whether the key with this hash is this service's.
    pub fn owns(&self, key: u64) -> bool {
        self.me.is_some() && self.owner(key) == self.me
    }

    /// The other member that the key with this hash belongs to; `None` where it is
    /// this service's, or nobody is known.
    pub fn other_owner(&self, key: u64) -> Option<&Arc<str>> {
        let owner = self.owner(key).filter(|owner| Some(*owner) != self.me)?;
        Some(&self.members[owner].name)
    }

    /// The shard of a service that has no others beside it.
    pub fn alone() -> Self {
        Self {
            members: [Member::new("")].into(),
            me: Some(0),
        }
    }

    /// The shard without some of the members.
    pub fn without(&self, names: &BTreeSet<String>) -> Self {
        let stays = |member: &&Member| !names.contains(&*member.name);
        let members: Arc<[_]> = self.members.iter().filter(stays).cloned().collect();
        let me = self.me.map(|me| &self.members[me]);
        Self {
            me: me.and_then(|me| members.iter().position(|member| member == me)),
            members,
        }
    }

    /// All members, in the order of their names.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Where this service is among the members, if it is one of them.
    pub fn me(&self) -> Option<usize> {
        self.me
    }

    /// The names of the others.
    pub fn others(&self) -> impl Iterator<Item = &Arc<str>> {
        let members = self.members.iter().enumerate();
        let others = members.filter(|(at, _)| Some(*at) != self.me);
        others.map(|(_, member)| &member.name)
    }

    /// Whether there are others, from which keys may come.
    pub fn has_others(&self) -> bool {
        self.others().next().is_some()
    }

    /// Where among the members the one is that the key with this hash belongs to;
    /// `None` where there are none.
    pub fn owner(&self, key: u64) -> Option<usize> {
        let members = 0..self.members.len();
        members.max_by_key(|at| self.members[*at].score(key))
    }
}

// === impl Member ===

impl Member {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            hash: xxh3_64(name.as_bytes()),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How much the key with this hash is this member's rather than another's.
    pub fn score(&self, key: u64) -> u64 {
        xxh3_64_with_seed(&key.to_le_bytes(), self.hash)
    }
}

/// Follows the members.
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

/// The shard of a service that is alone.
pub fn alone() -> Shards {
    let (sender, receiver) = watch::channel(Some(Shard::alone()));
    tokio::spawn(async move { sender.closed().await });
    receiver
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
            let owners = owners(&members, xxh3_64(&target.to_le_bytes()));
            assert_eq!(owners.len(), 1);
            let others = members.iter().filter(|member| **member != owners[0]);
            for other in others {
                let key = xxh3_64(&target.to_le_bytes());
                let owner = Shard::new(other, &members).other_owner(key).cloned();
                assert_eq!(owner.as_deref(), Some(owners[0].as_str()));
            }
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
    fn a_service_that_the_others_do_not_know_owns_nothing() {
        let known = members(2);
        let stranger = Shard::new("10.0.0.9:8080", &known);
        assert!(stranger.me().is_none() && !(0..1000).any(|target| stranger.owns(target)));
        assert!(Shard::alone().owns(7) && !Shard::alone().has_others());
    }

    #[test]
    fn a_shard_without_some_is_that_of_the_rest() {
        let mut rest = members(4);
        let gone = BTreeSet::from([rest.pop_first().unwrap(), rest.pop_last().unwrap()]);
        for me in &members(5) {
            let shard = Shard::new(me, &members(4)).without(&gone);
            assert_eq!(shard, Shard::new(me, &rest));
        }
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
