//! Decides when a claimed target may be scraped, and when its batches may be sent.

use mesh_outbox::{OldestPending, Outbox};
use tracing::debug;

use super::{
    super::{
        hold_backs::{Backlog, HoldBack},
        metrics::HandoverMetrics,
        protocol::Responses,
    },
    State,
};

// === impl State ===

impl State {
    /// Grants the claims of targets that no peer scrapes. Holds their batches back if a peer
    /// may have older ones.
    pub(super) fn grant(
        &mut self,
        responses: &Responses,
        outbox: &Outbox,
        metrics: &HandoverMetrics,
    ) {
        let asked = self.claims.asked();
        let free = asked.filter(|(key, _)| !self.is_scraped_elsewhere(key.target, responses));
        let free: Vec<_> = free
            .map(|(key, it)| (key.clone(), it.requested_ms))
            .collect();
        for (key, requested_ms) in free {
            let target = key.target;
            let mut hold_back = HoldBack::new(requested_ms);
            self.record_backlogs(&mut hold_back, target, responses);
            let barrier = self.barrier(&hold_back, responses);
            debug!(
                target_id = format!("{target:016x}"),
                barrier_ms = barrier.as_ref().map(OldestPending::oldest_ms),
                "Target taken over"
            );
            match barrier {
                Some(barrier) => {
                    self.hold_backs.insert(target, hold_back);
                    outbox.hold_back(target, barrier);
                }
                None => metrics.count_release(has_silent_peers(responses)),
            }
            let answered = responses.values().flatten();
            let last = answered.filter_map(|response| response.last_scrape(target));
            self.claims.grant(&key, last.max());
        }
    }

    /// Releases the hold-back of each of these targets once no peer may have older batches, or
    /// once the target has no batches here and is not scraped here.
    pub(super) fn release_hold_backs(
        &mut self,
        targets: &[u64],
        responses: &Responses,
        outbox: &Outbox,
        metrics: &HandoverMetrics,
    ) {
        let own = targets.iter().copied().collect();
        let own = outbox.oldest_pending(&own).unwrap_or_default();
        for &target in targets {
            let Some(mut hold_back) = self.hold_backs.remove(target) else {
                continue;
            };
            self.record_backlogs(&mut hold_back, target, responses);
            let is_here = own.contains_key(&target) || self.claims.is_scraped(target);
            match self.barrier(&hold_back, responses) {
                Some(barrier) if is_here => {
                    self.hold_backs.insert(target, hold_back);
                    outbox.hold_back(target, barrier);
                }
                _ => {
                    debug!(
                        target_id = format!("{target:016x}"),
                        is_here, "Hold-back released"
                    );
                    outbox.release(target);
                    metrics.count_release(has_silent_peers(responses));
                }
            }
        }
    }

    /// Returns true if a peer scrapes a target, may scrape it, or has precedence.
    fn is_scraped_elsewhere(&self, target: u64, responses: &Responses) -> bool {
        responses.iter().any(|(name, response)| match response {
            Some(response) => {
                let goes_first = **name < *self.peers.me() && response.claimed.contains(&target);
                goes_first || response.scraped.contains(&target)
            }
            None => self.peers.may_scrape(name),
        })
    }

    /// Records the backlog of a target that the peers report. A peer whose earlier process may
    /// have exports in flight does not know about those: the last report of that process counts.
    fn record_backlogs(&self, hold_back: &mut HoldBack, target: u64, responses: &Responses) {
        for (name, response) in responses {
            if let Some(response) = response
                && !self.peers.may_deliver(name)
            {
                hold_back.record(name, response.backlog(target));
            }
        }
    }

    /// Times of the oldest batches of a target that may be elsewhere; `None` if there are no
    /// such batches. The backlogs must be recorded before.
    pub(super) fn barrier(
        &self,
        hold_back: &HoldBack,
        responses: &Responses,
    ) -> Option<OldestPending> {
        let awaited = responses
            .iter()
            .filter(|(name, response)| match hold_back.backlog(name) {
                Some(Backlog::Empty) => false,
                Some(Backlog::Since(_)) if response.is_some() => true,
                _ => self.peers.may_deliver(name),
            });
        let awaited = awaited.map(|(name, _)| hold_back.oldest(name));
        let has_earlier_exports = !hold_back.is_fenced() && self.peers.has_own_earlier_exports();
        let is_awaiting_own = has_earlier_exports || self.is_starting();
        awaited
            .chain(is_awaiting_own.then(|| OldestPending::everywhere(hold_back.claimed_ms())))
            .reduce(|one, other| one.merge(&other))
    }
}

fn has_silent_peers(responses: &Responses) -> bool {
    responses.values().any(Option::is_none)
}
