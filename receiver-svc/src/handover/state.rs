//! State machine of the handover: claims, hold-backs and peers.
//!
//! The poller works in rounds. [`State::start_round`] says what to ask the peers, and
//! [`State::finish_round`] draws the conclusions from their responses.

mod takeover;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use mesh_base::random;
use mesh_net::endpoints::Addresses;
use mesh_outbox::Outbox;
use tokio::time::Instant;

use super::{
    claims::Claims,
    foreign::{ForeignTargets, OrphanCheck},
    gossip::{Process, ShutdownPhase, WaitTimes},
    hold_backs::{HoldBack, HoldBacks},
    metrics::{HandoverMetrics, TargetCounts},
    peers::{Peers, WaitPolicy},
    protocol::{HandoverRequest, HandoverResponse, Responses},
};
use crate::{
    ownership::{Overrides, ScrapeRecord},
    shard::Assignment,
};

/// Claims, hold-backs and peers of a receiver.
#[derive(Debug)]
pub(super) struct State {
    /// Random number that identifies this process.
    process_id: u64,
    started: Instant,
    /// `true` once a peer has answered that knows of every Export that a dead receiver may
    /// still have in flight: it has run for longer than such an Export.
    has_elder: bool,
    pub(super) claims: Claims,
    pub(super) peers: Peers,
    /// `true` once the members are known.
    pub(super) knows_members: bool,
    foreign: ForeignTargets,
    /// Shutdown phase of this receiver; `None` while it scrapes.
    shutdown: Option<ShutdownPhase>,
    /// `true` once a request with the shutdown phase has been sent to the peers.
    is_shutdown_announced: bool,
    /// Wait times in the last request to the peers.
    announced_wait: WaitTimes,
    hold_backs: HoldBacks,
}

/// One request to all peers.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) request: Arc<HandoverRequest>,
    /// Peers to poll, with the response timeout of each.
    pub(super) peers: Vec<(String, Duration)>,
    orphan_check: Option<OrphanCheck>,
    started: Instant,
    /// Value of [`Peers::added`] at the start.
    peers_added: u64,
}

/// Pause between two rounds while targets are claimed or retained.
const CLAIM_PAUSE: Duration = Duration::from_millis(250);
/// Pause between two rounds while batches are held back.
const HOLD_BACK_PAUSE: Duration = Duration::from_millis(500);
/// Pause between two rounds while peers have left or are silent.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Time by which a spill to disk is announced in advance: the length of a round and the pause
/// before it.
const SPILL_NOTICE: Duration = Duration::from_secs(2);
/// Time after its start for which a process holds everything back beside an elder. Draining
/// receivers have left the members; each of them polls all members within this time.
pub(super) const STARTUP_HOLD: Duration = Duration::from_secs(2);

// === impl State ===

impl State {
    pub(super) fn new(name: String, policy: WaitPolicy, unready: Addresses) -> Self {
        Self {
            process_id: random::range(0.0..2_f64.powi(53)) as u64,
            started: Instant::now(),
            has_elder: false,
            claims: Claims::default(),
            peers: Peers::new(name, policy, unready),
            knows_members: false,
            foreign: ForeignTargets::new(),
            shutdown: None,
            is_shutdown_announced: true,
            announced_wait: policy.minimum(),
            hold_backs: HoldBacks::default(),
        }
    }

    /// Replaces the other members.
    pub(super) fn set_members(&mut self, members: &BTreeSet<String>) {
        self.peers.set_members(members);
        if !std::mem::replace(&mut self.knows_members, true) {
            self.peers.add_unready();
        }
    }

    /// Replaces the assignment of targets to receivers.
    pub(super) fn set_assignment(&mut self, assignment: Arc<Assignment>) {
        self.claims
            .retain_ended(|target| assignment.contains(target));
        self.foreign.set_assignment(assignment, &self.claims);
    }

    /// Holds back batches that an earlier process left on disk, by target and time of the
    /// oldest batch.
    pub(super) fn hold_replayed(&mut self, replayed: impl IntoIterator<Item = (u64, i64)>) {
        for (target, oldest_ms) in replayed {
            self.hold_backs
                .insert(target, HoldBack::replayed(oldest_ms));
        }
    }

    /// Stops scraping and claiming, and announces the shutdown phase in the next round.
    pub(super) fn shut_down(&mut self, phase: ShutdownPhase) {
        self.claims.stop();
        self.foreign.stop();
        self.shutdown = Some(phase);
        self.is_shutdown_announced = self.peers.is_empty();
    }

    /// Grants all claims if there is no peer to ask.
    pub(super) fn grant_without_peers(&mut self) {
        if self.peers.is_empty() && !self.is_starting() {
            let grantable = self.claims.grantable();
            let grantable: Vec<_> = grantable.map(|(key, _)| key.clone()).collect();
            for key in &grantable {
                self.claims.grant(key, None);
            }
        }
    }

    /// Deviations from the assignment that the peers have caused.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            retained: self.foreign.retained().clone(),
            leaving: self.peers.leaving(),
        }
    }

    /// Number of targets in each state.
    pub(super) fn target_counts(&self) -> TargetCounts {
        TargetCounts {
            pending: self.claims.pending().len(),
            held_back: self.hold_backs.len(),
            retained: self.foreign.retained().len(),
        }
    }

    /// Answers a peer. The caller adds the backlog of the outbox.
    pub(super) fn respond(
        &mut self,
        request: &HandoverRequest,
        outbox: &Outbox,
    ) -> HandoverResponse {
        self.peers.record_contact(&request.sender, request.process);
        if let Some(phase) = request.shutdown {
            self.peers.record_shutdown(&request.sender, phase);
        }
        let me = self.peers.me();
        self.foreign.yield_to_claims(request, &self.claims, me);
        if *request.sender < *me {
            let claimed = request.claimed.iter();
            claimed.for_each(|target| self.claims.discard_responses(*target));
        }
        let asked = || request.claimed.iter().chain(&request.watched).copied();
        let last = asked().filter_map(|target| Some((target, self.claims.last_scrape(target)?)));
        let last: BTreeMap<u64, ScrapeRecord> = last.collect();
        let last_scrape_ms = last.iter().map(|(target, last)| (*target, last.time_ms));
        let up = last.iter().filter(|(_, last)| last.is_up);
        HandoverResponse {
            process: self.process(self.wait_times(outbox)),
            shutdown: self.shutdown,
            scraped: asked().filter(|t| self.claims.is_scraped(*t)).collect(),
            claimed: asked().filter(|t| self.claims.is_pending(*t)).collect(),
            ended: asked().filter(|t| self.claims.has_ended(*t)).collect(),
            last_scrape_ms: last_scrape_ms.collect(),
            up: up.map(|(target, _)| *target).collect(),
            oldest_pending: HashMap::new(),
            peers: self.peers.reports(),
        }
    }

    /// Starts a round; `None` if there is nothing to ask. A change of the wait times needs a
    /// round too: the peers must know them before this receiver is killed.
    pub(super) fn start_round(&mut self, outbox: &Outbox) -> Option<Round> {
        self.peers.update_listing();
        let wait = self.wait_times(outbox);
        let claimed = self.claims.mark_asked();
        let orphan_check = self.foreign.due_check();
        let mut watched = self.foreign.retained().clone();
        watched.extend(orphan_check.iter().flat_map(OrphanCheck::targets));
        let is_needed = !claimed.is_empty()
            || !watched.is_empty()
            || !self.hold_backs.is_empty()
            || self.peers.need_polling()
            || !self.is_shutdown_announced
            || self.is_draining()
            || wait.export_ms > self.announced_wait.export_ms
            || wait.away_ms != self.announced_wait.away_ms;
        if !is_needed {
            return None;
        }
        self.announced_wait = wait;
        let peers = self.peers.to_poll();
        Some(Round {
            request: Arc::new(HandoverRequest {
                sender: self.peers.me().to_owned(),
                process: self.process(wait),
                shutdown: self.shutdown,
                claimed: claimed.into_iter().collect(),
                watched: watched.into_iter().collect(),
                held_back: self.hold_backs.targets().collect(),
            }),
            peers: peers.map(|(name, limit)| (name.clone(), limit)).collect(),
            orphan_check,
            started: Instant::now(),
            peers_added: self.peers.added,
        })
    }

    /// Finishes a round: grants claims and releases hold-backs. Returns the pause until the
    /// next round.
    pub(super) fn finish_round(
        &mut self,
        round: &Round,
        responses: &Responses,
        outbox: &Outbox,
        metrics: &HandoverMetrics,
    ) -> Duration {
        self.record_responses(round, responses);
        // A peer that was not reached learns of the shutdown from the others.
        self.is_shutdown_announced |= round.request.shutdown == self.shutdown;
        // Peers that were added during the round have not been asked.
        let is_complete = self.peers.added == round.peers_added;
        if is_complete {
            self.grant(responses, outbox, metrics);
        }
        let orphan_check = round.orphan_check.as_ref().filter(|_| is_complete);
        self.update_foreign(orphan_check, responses, metrics);
        self.release_hold_backs(&round.request.held_back, responses, outbox, metrics);
        self.peers.evict();
        self.claims.evict();
        if !is_complete {
            Duration::ZERO
        } else if !self.claims.pending().is_empty() || !self.foreign.retained().is_empty() {
            CLAIM_PAUSE
        } else if !self.hold_backs.is_empty() || self.is_draining() {
            HOLD_BACK_PAUSE
        } else {
            WATCH_PAUSE
        }
    }

    /// Time for which there is nothing to ask unless something changes.
    pub(super) fn idle_time(&self) -> Duration {
        self.foreign
            .until_check()
            .map_or(WATCH_PAUSE, |rest| rest.min(WATCH_PAUSE))
    }

    fn process(&self, wait: WaitTimes) -> Process {
        Process {
            id: self.process_id,
            age_ms: self.started.elapsed().as_millis() as u64,
            wait,
        }
    }

    /// Time that peers have to wait if this process is killed now.
    fn wait_times(&self, outbox: &Outbox) -> WaitTimes {
        let away = if outbox.may_have_spilled(SPILL_NOTICE) {
            self.peers.policy.away_timeout
        } else {
            Duration::ZERO
        };
        WaitTimes {
            export_ms: outbox.longest_export_timeout().as_millis() as u64,
            away_ms: away.as_millis() as u64,
        }
    }

    /// Returns true if this receiver has stopped scraping and still has batches. It then polls
    /// the peers, so that members that join learn about its backlog.
    fn is_draining(&self) -> bool {
        self.shutdown == Some(ShutdownPhase::Stopped)
    }

    /// Returns true if there may be peers that this process has not heard from yet, or Exports
    /// of a dead receiver that nobody can report. Without an elder that lasts as long as such
    /// an Export: the dead receiver may have been the only one of the group, or this one.
    fn is_starting(&self) -> bool {
        let hold = if self.has_elder {
            STARTUP_HOLD
        } else {
            self.peers.policy.export_timeout.max(STARTUP_HOLD)
        };
        !self.peers.me().is_empty() && self.started.elapsed() < hold
    }

    /// Releases and adopts targets of other receivers, as the responses say.
    fn update_foreign(
        &mut self,
        orphan_check: Option<&OrphanCheck>,
        responses: &Responses,
        metrics: &HandoverMetrics,
    ) {
        let (peers, claims) = (&self.peers, &self.claims);
        self.foreign.release(responses, peers, claims);
        if let Some(check) = orphan_check {
            let adopted = self.foreign.adopt_orphans(check, responses, peers, claims);
            metrics.count_orphans(adopted);
        }
    }

    /// Records which peers answered, and which other receivers they report.
    fn record_responses(&mut self, round: &Round, responses: &Responses) {
        let reports = || responses.values().flatten().flat_map(|it| &it.peers);
        let mut silent_ms: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, report) in reports() {
            let known = silent_ms.entry(name).or_default();
            *known = report.silent_ms.max(*known);
        }
        let export_ms = self.peers.policy.export_timeout.as_millis() as u64;
        for (name, response) in responses {
            match response {
                Some(response) => {
                    self.has_elder |= response.process.age_ms >= export_ms;
                    self.peers.record_contact(name, response.process);
                    if let Some(phase) = response.shutdown {
                        self.peers.record_shutdown(name, phase);
                    }
                }
                None => {
                    let before_ms = silent_ms.get(name.as_str()).copied().unwrap_or_default();
                    self.peers.record_silence(name, round.started, before_ms);
                }
            }
        }
        // A presumed peer counts only if every receiver knows it that has run for longer than
        // the away timeout, and if Kubernetes lists it. Otherwise it will deliver nothing.
        let away = self.peers.policy.away_timeout;
        let is_elder = |it: &&HandoverResponse| it.process.age_ms >= away.as_millis() as u64;
        let elders: Vec<_> = responses.values().flatten().filter(is_elder).collect();
        let is_young = self.started.elapsed() < away;
        let is_known = |name: &str| {
            let mut elders = elders.iter();
            is_young && elders.all(|elder| elder.peers.contains_key(name))
        };
        for (name, report) in reports() {
            if report.stated_ms.is_some() || is_known(name) && self.peers.may_be_unready(name) {
                self.peers.merge_report(name, report, round.started);
            }
        }
        self.peers.evict_presumed(is_known);
        self.peers.update_pods();
    }
}

#[cfg(test)]
mod tests;
