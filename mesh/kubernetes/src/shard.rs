//! Assigns each key to one of several members, by rendezvous hashing.
//!
//! One receiver of a replica group scrapes a target, and one gateway accumulates a delta
//! stream. The owner is the member with the highest hash of (member, key). All members
//! compute the same owner without a coordinator. A member that joins or leaves moves only
//! its own share of the keys.
//!
//! A service that is not among the members owns nothing: it is not ready yet, or is
//! stopping. The other members own its keys, and two services must never own one key
//! (law 1).

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use mesh_net::endpoints::Addresses;

/// The members at one moment, from the view of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Members, sorted by name.
    members: Arc<[Member]>,
    /// Index of this service among the members.
    me: Option<usize>,
}

/// A service that shares keys with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    name: Arc<str>,
    hash: u64,
}

/// Watches the shard of this service; `None` until the members are known.
pub type Shards = watch::Receiver<Option<Shard>>;

// === impl Shard ===

impl Shard {
    /// Creates the shard of `me` among `members`.
    pub fn new(me: &str, members: &BTreeSet<String>) -> Self {
        Self {
            me: members.iter().position(|member| member == me),
            members: members.iter().map(|name| Member::new(name)).collect(),
        }
    }

    /// Returns true if this service owns the key with this hash.
    pub fn owns(&self, key: u64) -> bool {
        self.me.is_some() && self.owner(key) == self.me
    }

    /// Returns the member that owns the key with this hash, if it is another one. Returns
    /// `None` if this service owns the key or there is no member.
    pub fn other_owner(&self, key: u64) -> Option<&Arc<str>> {
        let owner = self.owner(key).filter(|owner| Some(*owner) != self.me)?;
        Some(&self.members[owner].name)
    }

    /// Creates the shard of a service without other members. It owns all keys.
    pub fn alone() -> Self {
        Self {
            members: [Member::new("")].into(),
            me: Some(0),
        }
    }

    /// Returns the shard without some of the members.
    pub fn without(&self, names: &BTreeSet<String>) -> Self {
        let remains = |member: &&Member| !names.contains(&*member.name);
        let members: Arc<[_]> = self.members.iter().filter(remains).cloned().collect();
        let me = self.me.map(|me| &self.members[me]);
        Self {
            me: me.and_then(|me| members.iter().position(|member| member == me)),
            members,
        }
    }

    /// Returns all members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the index of this service among the members, if it is one.
    pub fn me(&self) -> Option<usize> {
        self.me
    }

    /// Iterates over the names of the other members.
    pub fn others(&self) -> impl Iterator<Item = &Arc<str>> {
        let members = self.members.iter().enumerate();
        let others = members.filter(|(at, _)| Some(*at) != self.me);
        others.map(|(_, member)| &member.name)
    }

    /// Returns true if there are other members.
    pub fn has_others(&self) -> bool {
        self.others().next().is_some()
    }

    /// Returns the index of the member that owns the key with this hash; `None` without
    /// members.
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

    /// Returns the name of the member.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the rendezvous hash of this member and a key. The member with the highest
    /// score owns the key.
    pub fn score(&self, key: u64) -> u64 {
        xxh3_64_with_seed(&key.to_le_bytes(), self.hash)
    }
}

/// Watches the shard of `me` while the members change.
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
        // The sender of a static list is dropped at once; its receivers stay open.
        while members.changed().await.is_ok() && !sender.is_closed() {
            publish(&sender, &members);
        }
        sender.closed().await;
    });
    receiver
}

/// Watches the shard of a service without other members.
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
    fn each_target_has_one_owner_and_the_shares_are_even() {
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
    fn a_new_member_moves_only_its_share() {
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
    fn a_service_outside_the_members_owns_nothing() {
        let known = members(2);
        let stranger = Shard::new("10.0.0.9:8080", &known);
        assert!(stranger.me().is_none() && !(0..1000).any(|target| stranger.owns(target)));
        assert!(Shard::alone().owns(7) && !Shard::alone().has_others());
    }

    #[test]
    fn removing_members_equals_a_shard_of_the_rest() {
        let mut rest = members(4);
        let gone = BTreeSet::from([rest.pop_first().unwrap(), rest.pop_last().unwrap()]);
        for me in &members(5) {
            let shard = Shard::new(me, &members(4)).without(&gone);
            assert_eq!(shard, Shard::new(me, &rest));
        }
    }

    #[tokio::test]
    async fn follows_the_members() {
        let (sender, addresses) = watch::channel(None);
        let mut shards = follow("10.0.0.0:8080".to_owned(), addresses);
        assert_eq!(*shards.borrow(), None);
        sender.send_replace(Some(members(3)));
        let shard = shards.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(shard, Some(Shard::new("10.0.0.0:8080", &members(3))));
    }
}
