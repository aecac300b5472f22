//! Other receivers of the group: the members, and those that have left.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh_net::endpoints::Addresses;
use tokio::time::Instant;

pub(super) use self::peer::RESPONSE_TIMEOUT;
use self::peer::{Peer, Pod};
use super::{
    gossip::{PeerReport, Process, ShutdownPhase, WaitTimes},
    listing::Listing,
};

/// Time for which a receiver that does not answer is presumed to go on scraping.
pub const GRACE: Duration = Duration::from_secs(3);

/// Other receivers that this one knows.
#[derive(Debug)]
pub(super) struct Peers {
    me: String,
    started: Instant,
    /// Time until which exports of an earlier process of this receiver may be in flight.
    own_exports_until: Option<Instant>,
    peers: BTreeMap<String, Peer>,
    /// Receivers of the group that exist and are not ready. `None` if the platform does not
    /// list them.
    unready: Addresses,
    listing: Listing,
    /// Number of peers that were added so far.
    pub(super) added: u64,
    pub(super) policy: WaitPolicy,
}

/// Limits of the wait for peers that do not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitPolicy {
    /// Time for which a peer may have exports in flight.
    pub(super) export_timeout: Duration,
    /// Time within which a peer may return with more batches.
    pub(super) away_timeout: Duration,
    /// `true` if the members are those that were found ready a moment ago; `false` for a fixed
    /// list.
    pub(super) members_are_ready: bool,
    /// `true` if this receiver spills to a directory. A peer that nothing is known of is
    /// assumed to do so too.
    pub(super) spills: bool,
    /// `true` if peers are authenticated. What they say about other receivers is then believed,
    /// and those are called.
    pub(super) authenticated: bool,
}

/// Maximum number of known peers. Names arrive over the network.
pub(super) const MAX_PEERS: usize = 1000;
/// Time for which a request may be on its way to an exporter. The exporter counts the deadline
/// from the arrival.
const EXPORT_SLACK: Duration = Duration::from_secs(2);
/// Time after which a peer that has left is forgotten in any case.
const PEER_TTL: Duration = Duration::from_secs(600);
/// Silence of an owner after which its retained targets are released. It is shorter than
/// [`GRACE`]: the owner may be partitioned, and takes the targets unasked after that.
const RETAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Response timeout for a peer that is silent or drained. The process is ending, and only a new
/// process of the same name would answer. Such a peer must not delay the others.
const SHORT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(250);

// === impl WaitPolicy ===

impl WaitPolicy {
    /// Wait times for a peer whose disk holds no batches.
    pub(super) fn minimum(&self) -> WaitTimes {
        WaitTimes {
            export_ms: self.export_timeout.as_millis() as u64,
            away_ms: 0,
        }
    }

    /// Wait times for a peer that nothing is known of.
    fn unknown(&self) -> WaitTimes {
        let away = if self.spills {
            self.away_timeout
        } else {
            Duration::ZERO
        };
        WaitTimes {
            away_ms: away.as_millis() as u64,
            ..self.minimum()
        }
    }

    /// Wait times that a peer states, within the longest ones that this receiver accepts.
    fn bounded(&self, stated: WaitTimes) -> WaitTimes {
        let longest = self.longest_export().as_millis() as u64;
        WaitTimes {
            export_ms: stated.export_ms.min(longest),
            away_ms: stated.away_ms.min(self.away_timeout.as_millis() as u64),
        }
    }

    /// Longest time for which exports of a peer are presumed in flight, whatever it states.
    fn longest_export(&self) -> Duration {
        self.away_timeout.max(self.export_timeout) + EXPORT_SLACK
    }
}

// === impl Peers ===

impl Peers {
    pub(super) fn new(me: String, policy: WaitPolicy, unready: Addresses) -> Self {
        Self {
            me,
            started: Instant::now(),
            own_exports_until: None,
            peers: BTreeMap::new(),
            unready,
            listing: Listing::new(policy.away_timeout),
            added: 0,
            policy,
        }
    }

    /// Name of this receiver.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Replaces the members.
    pub(super) fn set_members(&mut self, members: &BTreeSet<String>) {
        for (name, peer) in &mut self.peers {
            if peer.is_member && !members.contains(name) {
                peer.left_at = Instant::now();
            }
            if !peer.is_member && members.contains(name) {
                // The peer is back. It may be unable to reach this receiver to announce it.
                peer.shutdown = None;
                peer.drained_process = None;
            }
            peer.is_member = members.contains(name);
            peer.apply_drain_report();
        }
        for name in members {
            self.add(name);
            if let Some(peer) = self.peers.get_mut(name) {
                peer.is_member = true;
            }
        }
        self.update_listing();
        self.update_pods();
    }

    /// Records the receivers that discovery lists now.
    pub(super) fn update_listing(&mut self) {
        let members = self.peers.iter().filter(|(_, peer)| peer.is_member);
        let unready = self.unready.borrow();
        let unready = unready.iter().flatten();
        let members = members.map(|(name, _)| name);
        self.listing
            .record(members.chain(unready).map(String::as_str));
    }

    /// Returns true if this receiver may call another one: discovery lists it, or has listed it
    /// within the away timeout. If peers are authenticated, also one that a peer has named
    /// within the away timeout.
    pub(super) fn may_call(&self, name: &str) -> bool {
        self.listing.contains(name) || self.policy.authenticated && self.listing.counts(name)
    }

    /// Receivers that discovery lists, or has listed within the away timeout.
    pub(super) fn listed(&mut self) -> BTreeSet<String> {
        self.update_listing();
        self.listing.names()
    }

    /// Updates which pods Kubernetes lists. Does nothing on other platforms.
    pub(super) fn update_pods(&mut self) {
        if let Some(unready) = &*self.unready.borrow() {
            for (name, peer) in &mut self.peers {
                peer.update_pod(peer.is_member || unready.contains(name));
            }
        }
    }

    /// Adds a member, unless it is known.
    fn add(&mut self, name: &str) {
        let is_known = self.peers.contains_key(name) || name == self.me;
        if !is_known && self.peers.len() < MAX_PEERS {
            self.peers
                .insert(name.to_owned(), Peer::new(self.policy.unknown()));
            self.added += 1;
        }
    }

    /// Adds a peer that has called or that another one has reported, unless it is known. A peer
    /// that discovery does not list is added for the away timeout only.
    fn add_heard(&mut self, name: &str) {
        if name != self.me && self.listing.hear(name) {
            self.add(name);
        }
    }

    /// Merges a report that another receiver made after `asked`, about a peer that has not
    /// answered or about this receiver. Does not add a peer that is gone.
    pub(super) fn merge_report(&mut self, name: &str, report: &PeerReport, asked: Instant) {
        let wait = self.policy.bounded(report.wait).max(&self.policy.minimum());
        let wait_time = wait.after_deletion(report.is_pod_deleted).total();
        let is_gone = Duration::from_millis(report.silent_ms) >= wait_time;
        if report.drained_process.is_none() && !is_gone {
            self.add_heard(name);
        }
        let earlier_exports = Duration::from_millis(report.earlier_exports_ms);
        let earlier_exports = earlier_exports.min(self.policy.longest_export());
        let until = (!earlier_exports.is_zero()).then_some(asked + earlier_exports);
        if name == self.me {
            // The earlier process had ended when this one started.
            let latest = self.started + self.policy.longest_export();
            let until = until.map(|until| until.min(latest));
            self.own_exports_until = self.own_exports_until.max(until);
        } else if let Some(peer) = self.peers.get_mut(name) {
            if let Some(ago_ms) = report.stated_ms {
                let stated_at = asked.checked_sub(Duration::from_millis(ago_ms));
                peer.record_statement(stated_at.unwrap_or(asked), wait, report.drained_process);
            }
            if report.is_pod_deleted && peer.pod == Pod::Unknown {
                peer.pod = Pod::Deleted;
            }
            peer.earlier_exports_until = peer.earlier_exports_until.max(until);
            peer.apply_drain_report();
        }
    }

    /// Adds the receivers of the group that are not ready when this one starts. They may be
    /// shutting down, or may come back. A receiver that appears later has no backlog.
    pub(super) fn add_unready(&mut self) {
        let unready = self.unready.borrow().clone();
        for name in unready.unwrap_or_default() {
            self.add(&name);
        }
    }

    /// Returns true if a receiver that is not a member may still exist.
    pub(super) fn may_be_unready(&self, name: &str) -> bool {
        may_be_unready(&self.unready.borrow(), name)
    }

    /// Forgets presumed peers: those that are not members and that no receiver has heard from.
    /// Keeps one that is still listed and for which `is_known` returns true.
    pub(super) fn evict_presumed(&mut self, is_known: impl Fn(&str) -> bool) {
        let unready = self.unready.borrow();
        self.peers.retain(|name, peer| {
            let may_exist = || is_known(name) && may_be_unready(&unready, name);
            peer.is_member || peer.stated_at.is_some() || may_exist()
        });
    }

    /// Records a message from a process of a peer. If the process is new, the earlier one had
    /// ended when it began.
    pub(super) fn record_contact(&mut self, name: &str, process: Process) {
        if self.policy.authenticated {
            self.listing.record(std::iter::once(name));
        }
        self.add_heard(name);
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        (peer.last_contact, peer.silent_since) = (Some(Instant::now()), None);
        let before = peer.process_id.replace(process.id);
        if before.is_none() {
            // What other receivers reported concerns an earlier process.
            peer.shutdown = None;
        }
        if before.is_some_and(|before| before != process.id) {
            let was_drained = peer.shutdown.take() == Some(ShutdownPhase::Drained);
            let age = Duration::from_millis(process.age_ms);
            peer.earlier_exports_until = if was_drained {
                None
            } else {
                Some(Instant::now() + peer.wait.exports().saturating_sub(age))
            };
        }
        let wait = WaitTimes {
            export_ms: process.wait.export_ms + EXPORT_SLACK.as_millis() as u64,
            ..process.wait
        };
        peer.wait = self.policy.bounded(wait).max(&self.policy.minimum());
        peer.stated_at = Some(Instant::now());
        peer.drained_process = None;
    }

    /// Records that the last known process is shutting down. Never goes back to an earlier
    /// phase, since a response may be older than a request that arrived meanwhile.
    pub(super) fn record_shutdown(&mut self, name: &str, phase: ShutdownPhase) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.shutdown = peer.shutdown.max(Some(phase));
            if !peer.is_member {
                peer.left_at = Instant::now();
            }
        }
    }

    /// Records that a peer has not answered a request that was sent at `asked`. Other receivers
    /// report that it had been silent for `before_ms` then. A peer that was heard from
    /// meanwhile may only be slow.
    pub(super) fn record_silence(&mut self, name: &str, asked: Instant, before_ms: u64) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.is_slow = peer.last_contact.is_some_and(|contact| contact > asked);
        let before = Duration::from_millis(before_ms);
        let since = asked.checked_sub(before).unwrap_or(asked);
        peer.silent_since = Some(peer.silent_since.map_or(since, |known| known.min(since)));
        peer.apply_drain_report();
    }

    /// Forgets the peers that have left and are gone.
    pub(super) fn evict(&mut self) {
        self.peers.retain(|name, peer| {
            let is_gone =
                peer.is_evictable(self.policy.away_timeout) || peer.left_at.elapsed() >= PEER_TTL;
            peer.is_member || !is_gone && self.listing.counts(name)
        });
    }

    /// Peers to poll, with the response timeout of each.
    pub(super) fn to_poll(&self) -> impl Iterator<Item = (&String, Duration)> {
        let polled = self.peers.iter().filter(|(_, peer)| !peer.is_finished());
        polled.map(|(name, peer)| {
            let is_silent = peer.silent_since.is_some() && !peer.is_slow;
            if is_silent || peer.is_drained() {
                (name, SHORT_RESPONSE_TIMEOUT)
            } else {
                (name, RESPONSE_TIMEOUT)
            }
        })
    }

    /// Returns true if there is no peer to poll.
    pub(super) fn is_empty(&self) -> bool {
        self.peers.values().all(Peer::is_finished)
    }

    /// Returns true if some peers must be polled even if no target is claimed. Those are peers
    /// that have left, until they are gone, and silent peers, so that the reported silence is
    /// accurate.
    pub(super) fn need_polling(&self) -> bool {
        let mut peers = self.peers.values().filter(|peer| !peer.is_finished());
        peers.any(|peer| !peer.is_member || peer.silent_since.is_some())
    }

    /// Reports about all peers.
    pub(super) fn reports(&self) -> BTreeMap<String, PeerReport> {
        let peers = self.peers.iter();
        peers
            .map(|(name, peer)| (name.clone(), peer.report()))
            .collect()
    }

    /// Members that have announced a shutdown.
    pub(super) fn leaving(&self) -> BTreeSet<String> {
        let peers = self.peers.iter();
        let leaving = peers.filter(|(_, peer)| peer.is_member && peer.shutdown.is_some());
        leaving.map(|(name, _)| name.clone()).collect()
    }

    /// Returns true if the peer is a member and has not announced a shutdown.
    pub(super) fn is_active_member(&self, name: &str) -> bool {
        let peer = self.peers.get(name);
        peer.is_some_and(|peer| peer.is_member && peer.shutdown.is_none())
    }

    /// Returns true if a peer that did not answer is presumed to go on scraping.
    pub(super) fn may_scrape(&self, name: &str) -> bool {
        self.peers.get(name).is_some_and(|peer| {
            let grace = if self.may_be_partitioned(peer) {
                self.policy.away_timeout
            } else {
                GRACE
            };
            peer.shutdown.is_none() && !peer.is_silent_for(grace)
        })
    }

    /// Returns true if an owner has been silent for so long that its retained targets must be
    /// released. That is before the owner takes them unasked, see [`Self::may_scrape`].
    pub(super) fn may_take_unasked(&self, name: &str) -> bool {
        self.peers.get(name).is_some_and(|peer| {
            let silence = if self.may_be_partitioned(peer) {
                self.policy.away_timeout.mul_f64(0.75)
            } else {
                RETAIN_TIMEOUT
            };
            peer.is_silent_for(silence)
        })
    }

    /// Returns true if an earlier process of this receiver may have exports in flight.
    pub(super) fn has_own_earlier_exports(&self) -> bool {
        self.own_exports_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// Returns true if a peer may deliver batches that no response mentions.
    ///
    /// A peer that is silent, or that has restarted, may have exports in flight or may come back
    /// with batches on its disk. A silent peer that is still a member may be partitioned from
    /// this receiver alone, and may have a backlog.
    pub(super) fn may_deliver(&self, name: &str) -> bool {
        self.peers.get(name).is_some_and(|peer| {
            peer.may_deliver(self.policy.away_timeout, self.may_be_partitioned(peer))
        })
    }

    /// Returns true if the peer may be unreachable from here rather than dead: it is still
    /// among the members, which were found ready. A fixed list names dead members too.
    fn may_be_partitioned(&self, peer: &Peer) -> bool {
        self.policy.members_are_ready && peer.is_member && peer.shutdown.is_none()
    }
}

/// Returns true if the receiver is not ready, or if unready receivers are not listed.
fn may_be_unready(unready: &Option<BTreeSet<String>>, name: &str) -> bool {
    unready.as_ref().is_none_or(|known| known.contains(name))
}

#[cfg(test)]
mod tests;
