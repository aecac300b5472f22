//! Owner of each target, as a function of the members and of all targets. Receivers that know
//! the same members and targets compute the same owners.
//!
//! Rendezvous hashing gives each target to the member with the highest score. With 1000 targets
//! and ten members, some member then gets a quarter more than the mean. Therefore targets beyond
//! [`TOLERANCE`] are displaced: members with too many targets give those with their lowest
//! scores to members with too few. No other target moves. The bounds follow the mean, so that
//! few targets move when a member or a target is added or removed.
//!
//! Receivers that know different targets may compute different owners, so that nobody claims a
//! target. Therefore the two members with the highest scores are *backup owners* of a target
//! that another member owns. They depend on the members alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_kubernetes::shard::Shard;

/// Owner of each target, as one receiver computes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    shard: Shard,
    /// Index of the owner among the members, by target; `None` if there are no members.
    owners: BTreeMap<u64, Option<usize>>,
    /// Targets for which this receiver is a backup owner, with its rank: the number of members
    /// with a higher score, 0 or 1.
    backups: BTreeMap<u64, u32>,
    displaced: usize,
}

/// Score and identity of a target in the list of a member.
type Scored = (u64, u64);

/// Maximum deviation of a member's number of targets from the mean, as a fraction of the mean.
/// One target is always allowed.
const TOLERANCE: f64 = 0.08;

// === impl Assignment ===

impl Assignment {
    /// Assigns the targets with these identities.
    pub fn new(shard: Shard, targets: &BTreeSet<u64>) -> Self {
        let mut it = Self {
            shard,
            owners: targets.iter().map(|target| (*target, None)).collect(),
            backups: BTreeMap::new(),
            displaced: 0,
        };
        if !it.shard.members().is_empty() {
            it.assign(targets);
            it.backups = it.compute_backups();
        }
        it
    }

    /// Returns true if this receiver owns the target.
    pub fn owns(&self, target: u64) -> bool {
        let owner = self.owners.get(&target).copied().flatten();
        owner.is_some() && owner == self.shard.me()
    }

    /// Returns true if the target was assigned.
    pub fn contains(&self, target: u64) -> bool {
        self.owners.contains_key(&target)
    }

    /// Name of the owner; `None` if the target has none.
    pub fn owner(&self, target: u64) -> Option<&Arc<str>> {
        let owner = self.owners.get(&target).copied().flatten()?;
        Some(self.shard.members()[owner].name())
    }

    /// Targets for which this receiver is a backup owner, with its rank among those: 0 or 1.
    pub fn backups(&self) -> &BTreeMap<u64, u32> {
        &self.backups
    }

    /// Number of targets that this receiver owns.
    pub fn owned(&self) -> usize {
        let targets = self.owners.keys();
        targets.filter(|target| self.owns(**target)).count()
    }

    /// Number of targets whose owner is not the member with the highest score.
    pub fn displaced(&self) -> usize {
        self.displaced
    }

    /// Members that share the targets.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    fn assign(&mut self, targets: &BTreeSet<u64>) {
        let mut lists = self.lists_by_score(targets);
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
        self.place_displaced(displaced, room.collect());
    }

    fn compute_backups(&self) -> BTreeMap<u64, u32> {
        let Some(me) = self.shard.me() else {
            return BTreeMap::new();
        };
        let others = self.owners.keys().filter(|target| !self.owns(**target));
        let ranked = others.map(|target| (*target, self.rank(me, *target)));
        ranked.filter(|(_, rank)| *rank < 2).collect()
    }

    /// Number of members with a higher score than this one, at most two.
    fn rank(&self, me: usize, target: u64) -> u32 {
        let members = self.shard.members();
        let mine = (members[me].score(target), me);
        let scores = members.iter().map(|member| member.score(target));
        let better = scores
            .enumerate()
            .filter(|(at, score)| (*score, *at) > mine);
        better.take(2).count() as u32
    }

    /// Targets of each member by rendezvous hashing.
    fn lists_by_score(&self, targets: &BTreeSet<u64>) -> Vec<Vec<Scored>> {
        let members = self.shard.members();
        let mut lists = vec![Vec::new(); members.len()];
        for target in targets {
            if let Some(at) = self.shard.owner(*target) {
                lists[at].push((members[at].score(*target), *target));
            }
        }
        lists
    }

    /// Gives displaced targets to members that have room, pairs with the highest score first.
    fn place_displaced(&mut self, displaced: BTreeSet<u64>, mut room: Vec<usize>) {
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

/// Number of targets that each member gets, from the counts of rendezvous hashing. Each count is
/// clamped to the tolerance. If the sum is then too low, the members with the fewest targets get
/// more; if it is too high, the members with the most targets get fewer.
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
