//! Targets of other receivers that this receiver scrapes or watches.
//!
//! Receivers learn about members and targets at different times. Until they know the same,
//! they may disagree about the owner of a target. Two rules keep each target scraped:
//!
//! - *Retained* targets: a receiver that scrapes a target goes on when the assignment moves the
//!   target away. It stops when the new owner claims the target.
//! - *Orphans*: if every receiver believes that another one owns a target, nobody claims it.
//!   The backup owners of a target check whether anybody scrapes it. If nobody does, one of
//!   them takes it over and retains it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    claims::Claims,
    peers::Peers,
    protocol::{HandoverRequest, Responses},
};
use crate::shard::Assignment;

/// Targets of other receivers that this receiver scrapes or watches.
#[derive(Debug)]
pub(super) struct ForeignTargets {
    assignment: Option<Arc<Assignment>>,
    retained: BTreeSet<u64>,
    /// Targets that nobody was found to scrape, with the number of consecutive checks.
    unscraped: BTreeMap<u64, u32>,
    /// Time of the next orphan check.
    next_check: Instant,
}

/// Check whether anybody scrapes the targets for which this receiver is a backup owner.
#[derive(Clone, Debug)]
pub(super) struct OrphanCheck(Arc<Assignment>);

/// Time between two orphan checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Consecutive checks that must find a target unscraped before its first backup owner takes it.
const CHECKS: u32 = 2;

// === impl ForeignTargets ===

impl ForeignTargets {
    pub(super) fn new() -> Self {
        Self {
            assignment: None,
            retained: BTreeSet::new(),
            unscraped: BTreeMap::new(),
            next_check: Instant::now(),
        }
    }

    /// Replaces the assignment. Targets that are scraped here are retained.
    pub(super) fn set_assignment(&mut self, assignment: Arc<Assignment>, claims: &Claims) {
        let scraped = claims.scraped_targets();
        let known = scraped.chain(self.retained.iter().copied());
        let foreign = known.filter(|target| is_foreign(&assignment, *target));
        self.retained = foreign.collect();
        self.assignment = Some(assignment);
    }

    /// Removes all targets.
    pub(super) fn stop(&mut self) {
        self.assignment = None;
        self.retained.clear();
    }

    /// Targets of other receivers that this receiver scrapes.
    pub(super) fn retained(&self) -> &BTreeSet<u64> {
        &self.retained
    }

    /// Time until the next orphan check; `None` if there is nothing to check.
    pub(super) fn until_check(&self) -> Option<Duration> {
        let assignment = self.assignment.as_ref()?;
        let is_backup = !assignment.backups().is_empty();
        is_backup.then(|| self.next_check.saturating_duration_since(Instant::now()))
    }

    /// Orphan check that is due now, if one is.
    pub(super) fn due_check(&self) -> Option<OrphanCheck> {
        let is_due = self.until_check().is_some_and(|rest| rest.is_zero());
        self.assignment.clone().filter(|_| is_due).map(OrphanCheck)
    }

    /// Releases targets that a peer claims. A target that is not scraped here yet is released
    /// only to a peer with precedence.
    pub(super) fn yield_to_claims(&mut self, request: &HandoverRequest, claims: &Claims, me: &str) {
        for target in &request.claimed {
            if claims.is_scraped(*target) || *request.sender < *me {
                self.retained.remove(target);
            }
        }
    }

    /// Releases targets that a peer scrapes, or may scrape soon because it does not answer.
    pub(super) fn release(&mut self, responses: &Responses, peers: &Peers, claims: &Claims) {
        let Some(assignment) = &self.assignment else {
            return;
        };
        self.retained.retain(|target| {
            let is_scraped_here = claims.is_scraped(*target);
            let is_elsewhere = responses.iter().any(|(name, response)| {
                let goes_first = !is_scraped_here && **name < *peers.me();
                response.as_ref().is_some_and(|response| {
                    let is_claimed = response.claimed.contains(target);
                    response.scraped.contains(target) || is_claimed && goes_first
                })
            });
            let owner = assignment.owner(*target);
            let may_be_taken = owner.is_some_and(|owner| peers.may_take_unasked(owner));
            !is_elsewhere && !may_be_taken
        });
    }

    /// Takes over the targets that nobody scrapes and returns their number. Takes none if a
    /// peer that may scrape has not answered.
    pub(super) fn adopt_orphans(
        &mut self,
        check: &OrphanCheck,
        responses: &Responses,
        peers: &Peers,
        claims: &Claims,
    ) -> usize {
        let assignment = self.assignment.as_ref();
        if !assignment.is_some_and(|it| Arc::ptr_eq(it, &check.0)) {
            return 0;
        }
        self.next_check = Instant::now() + CHECK_INTERVAL;
        let may_scrape = |name: &str| peers.is_active_member(name) || peers.may_scrape(name);
        if responses
            .iter()
            .any(|(name, it)| it.is_none() && may_scrape(name))
        {
            self.unscraped.clear();
            return 0;
        }
        let before = std::mem::take(&mut self.unscraped);
        let mut adopted = 0;
        for (target, rank) in check.0.backups() {
            let mut answered = responses.values().flatten();
            if claims.contains(*target) || answered.any(|it| it.mentions(*target)) {
                continue;
            }
            let times = before.get(target).copied().unwrap_or_default() + 1;
            if times < CHECKS + rank {
                self.unscraped.insert(*target, times);
            } else if self.retained.insert(*target) {
                adopted += 1;
            }
        }
        adopted
    }
}

// === impl OrphanCheck ===

impl OrphanCheck {
    pub(super) fn targets(&self) -> impl Iterator<Item = u64> {
        self.0.backups().keys().copied()
    }
}

fn is_foreign(assignment: &Assignment, target: u64) -> bool {
    !assignment.owns(target) && assignment.contains(target)
}
