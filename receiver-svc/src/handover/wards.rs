//! Targets of other receivers that are scraped or guarded here.
//!
//! Receivers hear of members and targets at different times, and as long as they do
//! not know the same they may say different things of whose a target is. So nobody
//! lets go of a target as it has become another's, but only when that one claims it:
//! until then it is *kept*. And a target that everybody takes for another's, so that
//! nobody claims it, is taken by one of those who *guard* it, and kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{answer::Question, claims::Claims, peers::Peers, state::Heard};
use crate::shard::Assignment;

/// Targets of other receivers that are scraped or guarded here.
#[derive(Debug)]
pub(super) struct Wards {
    assignment: Option<Arc<Assignment>>,
    kept: BTreeSet<u64>,
    /// Guarded targets that nobody was found to scrape, and how often in a row.
    lonely: BTreeMap<u64, u32>,
    /// When is to be asked next whether those that are guarded are scraped.
    next_look: Instant,
}

/// Guarded targets that the others are asked about.
#[derive(Clone, Debug)]
pub(super) struct Look(Arc<Assignment>);

/// How often the others are asked about guarded targets.
const LOOK: Duration = Duration::from_secs(5);
/// Found unscraped so often, a target is taken by its first guard.
const LONELY: u32 = 2;

// === impl Wards ===

impl Wards {
    pub(super) fn new() -> Self {
        Self {
            assignment: None,
            kept: BTreeSet::new(),
            lonely: BTreeMap::new(),
            next_look: Instant::now(),
        }
    }

    /// Takes up whose the targets are now. What is scraped here is kept.
    pub(super) fn assign(&mut self, assignment: Arc<Assignment>, claims: &Claims) {
        let scraped = claims.scraped_targets();
        let known = scraped.chain(self.kept.iter().copied());
        let others = known.filter(|target| is_another_s(&assignment, *target));
        self.kept = others.collect();
        self.assignment = Some(assignment);
    }

    /// Forgets everything.
    pub(super) fn stop(&mut self) {
        self.assignment = None;
        self.kept.clear();
    }

    /// Targets of others that are to be scraped here.
    pub(super) fn kept(&self) -> &BTreeSet<u64> {
        &self.kept
    }

    /// How long until the others are to be asked about what is guarded.
    pub(super) fn rest(&self) -> Option<Duration> {
        let assignment = self.assignment.as_ref()?;
        let is_guard = !assignment.guarded().is_empty();
        is_guard.then(|| self.next_look.saturating_duration_since(Instant::now()))
    }

    /// What the others are to be asked about now: the guarded, where it is time.
    pub(super) fn look(&self) -> Option<Look> {
        let is_due = self.rest().is_some_and(|rest| rest.is_zero());
        self.assignment.clone().filter(|_| is_due).map(Look)
    }

    /// Lets go what another claims: of what is not scraped here yet, only where that
    /// one goes first.
    pub(super) fn claimed(&mut self, question: &Question, claims: &Claims, me: &str) {
        for target in &question.claimed {
            if claims.is_scraped(*target) || *question.from < *me {
                self.kept.remove(target);
            }
        }
    }

    /// Lets go what others scrape, or may scrape as they do not answer.
    pub(super) fn release(&mut self, heard: &Heard, peers: &Peers, claims: &Claims) {
        let Some(assignment) = &self.assignment else {
            return;
        };
        self.kept.retain(|target| {
            let is_scraped_here = claims.is_scraped(*target);
            let is_elsewhere = heard.iter().any(|(name, answer)| {
                let goes_first = !is_scraped_here && **name < *peers.me();
                answer.as_ref().is_some_and(|answer| {
                    let is_claimed = answer.claimed.contains(target);
                    answer.scraped.contains(target) || is_claimed && goes_first
                })
            });
            let owner = assignment.owner(*target);
            let is_cut_off = owner.is_some_and(|owner| peers.may_take_unasked(owner));
            !is_elsewhere && !is_cut_off
        });
    }

    /// Takes what all others were asked about, and nobody scrapes; returns how many
    /// targets. Where one does not answer nothing is known.
    pub(super) fn take(
        &mut self,
        look: &Look,
        heard: &Heard,
        peers: &Peers,
        claims: &Claims,
    ) -> usize {
        let assignment = self.assignment.as_ref();
        if !assignment.is_some_and(|it| Arc::ptr_eq(it, &look.0)) {
            return 0;
        }
        self.next_look = Instant::now() + LOOK;
        let may_scrape = |name: &str| peers.is_member(name) || peers.may_scrape(name);
        if heard
            .iter()
            .any(|(name, it)| it.is_none() && may_scrape(name))
        {
            self.lonely.clear();
            return 0;
        }
        let before = std::mem::take(&mut self.lonely);
        let mut taken = 0;
        for (target, rank) in look.0.guarded() {
            if claims.is_here(*target) || heard.values().flatten().any(|it| it.knows(*target)) {
                continue;
            }
            let times = before.get(target).copied().unwrap_or_default() + 1;
            if times < LONELY + rank {
                self.lonely.insert(*target, times);
            } else if self.kept.insert(*target) {
                taken += 1;
            }
        }
        taken
    }
}

// === impl Look ===

impl Look {
    pub(super) fn targets(&self) -> impl Iterator<Item = u64> {
        self.0.guarded().keys().copied()
    }
}

fn is_another_s(assignment: &Assignment, target: u64) -> bool {
    !assignment.owns(target) && assignment.knows(target)
}
