//! Whose each target is: a function of the members and of all targets, so that
//! receivers who know the same say the same.
//!
//! By rendezvous alone (a target is its best placed member's) of 1000 targets and ten
//! members some member has a quarter more than the mean. So what is beyond
//! [`TOLERANCE`] is displaced: members that have too many give away the targets in
//! which they are placed worst, to those that have too few. Nothing else moves, and as
//! the bounds follow the mean one by one, few targets move where one comes or goes.
//!
//! Receivers that know different targets may say different things. So the two members
//! best placed in a target, who depend on the members alone, *guard* it where it is
//! another's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Shard;

/// Whose each target is, as one receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    shard: Shard,
    /// By the target's identity, where each owner is among the members; `None` where
    /// there are none.
    owners: BTreeMap<u64, Option<usize>>,
    /// Others' targets that this receiver guards, and how many members are placed
    /// better in them: none or one.
    guarded: BTreeMap<u64, u32>,
    displaced: usize,
}

/// A target in a member's list: how well it is placed there, and its identity.
type Placed = (u64, u64);

/// What a member's number of targets may differ from the mean by, as a part of the
/// mean; one target in any case.
const TOLERANCE: f64 = 0.08;

// === impl Assignment ===

impl Assignment {
    /// The assignment of the targets with these identities.
    pub fn new(shard: Shard, targets: &BTreeSet<u64>) -> Self {
        let mut it = Self {
            shard,
            owners: targets.iter().map(|target| (*target, None)).collect(),
            guarded: BTreeMap::new(),
            displaced: 0,
        };
        if !it.shard.members().is_empty() {
            it.assign(targets);
            it.guarded = it.guarded_by_me();
        }
        it
    }

    /// Whether the target is this receiver's.
    pub fn owns(&self, target: u64) -> bool {
        let owner = self.owners.get(&target).copied().flatten();
        owner.is_some() && owner == self.shard.me()
    }

    /// Whether this is one of the targets that were assigned.
    pub fn knows(&self, target: u64) -> bool {
        self.owners.contains_key(&target)
    }

    /// What the receiver is called whose the target is; `None` where nobody's it is.
    pub fn owner(&self, target: u64) -> Option<&Arc<str>> {
        let owner = self.owners.get(&target).copied().flatten()?;
        Some(self.shard.members()[owner].name())
    }

    /// Targets of others that this receiver guards, and how many others go before it.
    pub fn guarded(&self) -> &BTreeMap<u64, u32> {
        &self.guarded
    }

    /// How many targets are this receiver's.
    pub fn owned(&self) -> usize {
        let targets = self.owners.keys();
        targets.filter(|target| self.owns(**target)).count()
    }

    /// How many targets another is placed better in, for each of which this receiver
    /// or any other has one less.
    pub fn displaced(&self) -> usize {
        self.displaced
    }

    /// Who shares the targets.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    fn assign(&mut self, targets: &BTreeSet<u64>) {
        let mut lists = self.by_place(targets);
        let counts: Vec<_> = lists.iter().map(Vec::len).collect();
        let quotas = quotas(&counts, targets.len());
        let mut displaced = BTreeSet::new();
        for (list, quota) in lists.iter_mut().zip(&quotas) {
            list.sort_unstable();
            let excess = list.len().saturating_sub(*quota);
            displaced.extend(list.drain(..excess).map(|(_, target)| target));
        }
        for (at, list) in lists.into_iter().enumerate() {
            self.owners
                .extend(list.into_iter().map(|(_, target)| (target, Some(at))));
        }
        self.displaced = displaced.len();
        let room = quotas.iter().zip(&counts);
        let room = room.map(|(quota, count)| quota.saturating_sub(*count));
        self.house(displaced, room.collect());
    }

    fn guarded_by_me(&self) -> BTreeMap<u64, u32> {
        let Some(me) = self.shard.me() else {
            return BTreeMap::new();
        };
        let others = self.owners.keys().filter(|target| !self.owns(**target));
        let ranked = others.map(|target| (*target, self.before(me, *target)));
        ranked.filter(|(_, before)| *before < 2).collect()
    }

    /// How many members, two at most, are placed better in a target than this one.
    fn before(&self, me: usize, target: u64) -> u32 {
        let members = self.shard.members();
        let mine = (members[me].score(target), me);
        let scores = members.iter().map(|member| member.score(target));
        let before = scores
            .enumerate()
            .filter(|(at, score)| (*score, *at) > mine);
        before.take(2).count() as u32
    }

    /// The targets of each member by rendezvous.
    fn by_place(&self, targets: &BTreeSet<u64>) -> Vec<Vec<Placed>> {
        let members = self.shard.members();
        let mut lists = vec![Vec::new(); members.len()];
        for target in targets {
            if let Some(at) = self.shard.owner(*target) {
                lists[at].push((members[at].score(*target), *target));
            }
        }
        lists
    }

    /// Gives displaced targets to the members that have room, the best placed pairs
    /// first.
    fn house(&mut self, displaced: BTreeSet<u64>, mut room: Vec<usize>) {
        let members = self.shard.members().iter().enumerate();
        let members: Vec<_> = members.filter(|(at, _)| room[*at] > 0).collect();
        let pairs = displaced.iter().flat_map(|target| {
            let members = members.iter();
            members.map(|(at, member)| (member.score(*target), *target, *at))
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        for (_, target, at) in pairs.into_iter().rev() {
            let owner = self.owners.entry(target).or_default();
            if room[at] > 0 && owner.is_none() {
                room[at] -= 1;
                *owner = Some(at);
            }
        }
    }
}

/// How many targets each member is to have, where rendezvous gives it so many: as
/// many, unless that is too far from the mean. What is missing then is made up for by
/// those that have the fewest, what is over by those that have the most.
fn quotas(counts: &[usize], targets: usize) -> Vec<usize> {
    let mean = targets as f64 / counts.len() as f64;
    let slack = (mean * TOLERANCE).max(1.0);
    let least = (mean - slack).max(0.0).ceil() as usize;
    let most = (mean + slack) as usize;
    let quotas = counts.iter().map(|count| *count.clamp(&least, &most));
    let mut quotas: Vec<_> = quotas.collect();
    let mut sum: usize = quotas.iter().sum();
    while sum < targets {
        if let Some(fewest) = quotas.iter_mut().min() {
            *fewest += 1;
        }
        sum += 1;
    }
    while sum > targets {
        if let Some(most) = quotas.iter_mut().max() {
            *most -= 1;
        }
        sum -= 1;
    }
    quotas
}

#[cfg(test)]
mod tests;
