//! Whose each target is: a function of the members and of all targets, so that
//! receivers who know the same say the same.
//!
//! By rendezvous alone (a target is its best placed member's) of 1000 targets and ten
//! members some member has a quarter more than the mean. So what is beyond
//! [`TOLERANCE`] is displaced: members that have too many give away the targets in
//! which they are placed worst, to those that have too few. Nothing else moves, and as
//! the bounds follow the mean one by one, few targets move where one comes or goes.

use std::collections::{BTreeMap, BTreeSet};

use super::Shard;

/// Whose each target is, as one receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    shard: Shard,
    /// By the target's identity, where each owner is among the members.
    owners: BTreeMap<u64, usize>,
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
            owners: BTreeMap::new(),
            displaced: 0,
        };
        if !it.shard.members().is_empty() {
            it.assign(targets);
        }
        it
    }

    /// Whether the target is this receiver's.
    pub fn owns(&self, target: u64) -> bool {
        let owner = self.owners.get(&target).copied();
        owner.is_some() && owner == self.shard.me()
    }

    /// How many targets are this receiver's.
    pub fn owned(&self) -> usize {
        let owners = self.owners.values();
        owners.filter(|at| Some(**at) == self.shard.me()).count()
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
                .extend(list.into_iter().map(|(_, target)| (target, at)));
        }
        self.displaced = displaced.len();
        let room = quotas.iter().zip(&counts);
        let room = room.map(|(quota, count)| quota.saturating_sub(*count));
        self.house(displaced, room.collect());
    }

    /// The targets of each member by rendezvous.
    fn by_place(&self, targets: &BTreeSet<u64>) -> Vec<Vec<Placed>> {
        let members = self.shard.members();
        let mut lists = vec![Vec::new(); members.len()];
        for target in targets {
            let scores = members.iter().map(|member| member.score(*target));
            let best = scores.enumerate().max_by_key(|(_, score)| *score);
            if let Some((at, score)) = best {
                lists[at].push((score, *target));
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
            if room[at] > 0 && !self.owners.contains_key(&target) {
                room[at] -= 1;
                self.owners.insert(target, at);
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
