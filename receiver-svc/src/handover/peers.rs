//! The other receivers of the group: members, and those that have left.

mod peer;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh::endpoints::Addresses;
use tokio::time::Instant;

use self::peer::{Peer, Pod};
use super::{
    GRACE,
    news::{Legacy, Life, Parting, Rumour},
};

/// The other receivers that are known.
#[derive(Debug)]
pub(super) struct Peers {
    me: String,
    /// Until when Exports of an earlier process of this receiver may be under way.
    own_until: Option<Instant>,
    peers: BTreeMap<String, Peer>,
    /// Those of the group that are there and not ready, where such are known.
    unready: Addresses,
    /// Counts those that became known.
    pub(super) arrivals: u64,
    pub(super) patience: Patience,
}

/// How long others are waited for that do not answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Where it is only that they may have Exports under way.
    pub(super) timeout: Duration,
    /// Where they may be back with more.
    pub(super) away: Duration,
    /// The members are those that were found ready a moment ago.
    pub(super) are_ready: bool,
    /// This receiver has a directory for what waits, and so may those of which nothing is
    /// known.
    pub(super) spills: bool,
}

/// As many are remembered: names come over the network.
const MOST: usize = 1000;
/// How long a deadline may be on its way to an exporter, which counts it from its arrival.
const SLACK: Duration = Duration::from_secs(2);
/// One that has left is forgotten after this time in any case.
const MEMORY: Duration = Duration::from_secs(600);
/// What is kept for one that does not answer is let go before that one, which may be
/// cut off, takes it unasked after [`GRACE`].
const SILENCE: Duration = Duration::from_secs(2);
/// How long one has for an answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How long one has that does not answer, or of which nothing waits any more: its process
/// ends, and only a new one of its name would answer. It must not slow down what is asked
/// of others.
const BRIEF: Duration = Duration::from_millis(250);

// === impl Patience ===

impl Patience {
    /// What is left by one that has nothing on its disk.
    pub(super) fn least(&self) -> Legacy {
        Legacy {
            span_ms: self.timeout.as_millis() as u64,
            away_ms: 0,
        }
    }

    /// What is left by one of which nothing is known.
    fn unknown(&self) -> Legacy {
        let away = if self.spills {
            self.away
        } else {
            Duration::ZERO
        };
        Legacy {
            away_ms: away.as_millis() as u64,
            ..self.least()
        }
    }
}

// === impl Peers ===

impl Peers {
    pub(super) fn new(me: String, patience: Patience, unready: Addresses) -> Self {
        Self {
            me,
            own_until: None,
            peers: BTreeMap::new(),
            unready,
            arrivals: 0,
            patience,
        }
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Takes up who the members are.
    pub(super) fn follow(&mut self, members: &BTreeSet<String>) {
        for (name, peer) in &mut self.peers {
            if peer.is_member && !members.contains(name) {
                peer.left = Instant::now();
            }
            if !peer.is_member && members.contains(name) {
                // It is back, which it may not be able to say itself.
                peer.parting = None;
                peer.drained = None;
            }
            peer.is_member = members.contains(name);
            peer.part_as_told();
        }
        for name in members {
            self.learn(name);
            if let Some(peer) = self.peers.get_mut(name) {
                peer.is_member = true;
            }
        }
        self.look_up();
    }

    /// Takes up whose pods Kubernetes lists, where it does.
    pub(super) fn look_up(&mut self) {
        if let Some(unready) = &*self.unready.borrow() {
            for (name, peer) in &mut self.peers {
                peer.look_up(peer.is_member || unready.contains(name));
            }
        }
    }

    /// Notes that there is a receiver of this name.
    pub(super) fn learn(&mut self, name: &str) {
        let is_known = self.peers.contains_key(name) || name == self.me;
        if !is_known && self.peers.len() < MOST {
            self.peers
                .insert(name.to_owned(), Peer::new(self.patience.unknown()));
            self.arrivals += 1;
        }
    }

    /// Takes up what others knew at `asked` of one that has not answered itself, or of
    /// this receiver. One that is gone is not learned of again.
    pub(super) fn learn_of(&mut self, name: &str, rumour: &Rumour, asked: Instant) {
        let legacy = rumour.legacy.max(&self.patience.least());
        let lasts = legacy.remains(rumour.deleted).lasts();
        let is_gone = Duration::from_millis(rumour.silent_ms) >= lasts;
        if rumour.drained.is_none() && !is_gone {
            self.learn(name);
        }
        let left = Duration::from_millis(rumour.left_behind_ms);
        let until = (!left.is_zero()).then_some(asked + left);
        if name == self.me {
            self.own_until = self.own_until.max(until);
        } else if let Some(peer) = self.peers.get_mut(name) {
            if let Some(ago_ms) = rumour.said_ms {
                let said = asked.checked_sub(Duration::from_millis(ago_ms));
                peer.has_said(said.unwrap_or(asked), legacy, rumour.drained);
            }
            if rumour.deleted && peer.pod == Pod::Unknown {
                peer.pod = Pod::Deleted;
            }
            peer.left_until = peer.left_until.max(until);
            peer.part_as_told();
        }
    }

    /// Notes those of the group that are not ready as this receiver begins: they end, or
    /// may be back. Who appears later has nothing.
    pub(super) fn learn_of_unready(&mut self) {
        let unready = self.unready.borrow().clone();
        for name in unready.unwrap_or_default() {
            self.learn(&name);
        }
    }

    /// Whether one that is no member may be there all the same.
    pub(super) fn may_be_unready(&self, name: &str) -> bool {
        may_be_unready(&self.unready.borrow(), name)
    }

    /// Forgets those that are presumed to be there and have never been heard of, unless
    /// they are listed still and `is_known` says so.
    pub(super) fn dispel(&mut self, is_known: impl Fn(&str) -> bool) {
        let unready = self.unready.borrow();
        self.peers.retain(|name, peer| {
            let may_be_there = || is_known(name) && may_be_unready(&unready, name);
            peer.is_member || peer.said.is_some() || may_be_there()
        });
    }

    /// Notes that a process of this name lives. Where it is another than before, that
    /// one was gone when this one began.
    pub(super) fn heard(&mut self, name: &str, life: Life) {
        self.learn(name);
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        (peer.heard, peer.silent) = (Some(Instant::now()), None);
        let before = peer.life.replace(life.number);
        if before.is_none() {
            // Others have said so of a process before.
            peer.parting = None;
        }
        if before.is_some_and(|before| before != life.number) {
            let was_drained = peer.parting.take() == Some(Parting::Drained);
            let age = Duration::from_millis(life.age_ms);
            peer.left_until = match was_drained {
                true => None,
                false => Some(Instant::now() + peer.legacy.exports().saturating_sub(age)),
            };
        }
        let legacy = Legacy {
            span_ms: life.legacy.span_ms + SLACK.as_millis() as u64,
            ..life.legacy
        };
        peer.legacy = legacy.max(&self.patience.least());
        peer.said = Some(Instant::now());
        peer.drained = None;
    }

    /// Notes that the process that was heard of last stops. An answer may be older than
    /// what was heard meanwhile.
    pub(super) fn parts(&mut self, name: &str, parting: Parting) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.parting = peer.parting.max(Some(parting));
            if !peer.is_member {
                peer.left = Instant::now();
            }
        }
    }

    /// Notes that one does not answer what it was asked at `asked`, and had not for
    /// `before_ms` then as others say. Where it was heard of meanwhile it may be slow only.
    pub(super) fn silent(&mut self, name: &str, asked: Instant, before_ms: u64) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        peer.is_slow = peer.heard.is_some_and(|heard| heard > asked);
        let before = Duration::from_millis(before_ms);
        let since = asked.checked_sub(before).unwrap_or(asked);
        peer.silent = Some(peer.silent.map_or(since, |known| known.min(since)));
        peer.part_as_told();
    }

    /// Forgets those that have left and are gone.
    pub(super) fn forget(&mut self) {
        self.peers.retain(|_, peer| {
            let is_gone = peer.is_gone(self.patience.away) || peer.left.elapsed() >= MEMORY;
            peer.is_member || !is_gone
        });
    }

    /// Those that are to be asked, and how long each has for an answer.
    pub(super) fn to_ask(&self) -> impl Iterator<Item = (&String, Duration)> {
        let here = self.peers.iter().filter(|(_, peer)| !peer.is_over());
        here.map(|(name, peer)| {
            let is_silent = peer.silent.is_some() && !peer.is_slow;
            match is_silent || peer.is_drained() {
                true => (name, BRIEF),
                false => (name, ANSWER_TIME),
            }
        })
    }

    /// Whether there is nobody to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.peers.values().all(Peer::is_over)
    }

    /// Whether some are to be asked even where nothing is claimed: those that have left
    /// until they are gone, and those that do not answer until they do, so that their
    /// silence is no older than it is said to be.
    pub(super) fn are_watched(&self) -> bool {
        let mut peers = self.peers.values().filter(|peer| !peer.is_over());
        peers.any(|peer| !peer.is_member || peer.silent.is_some())
    }

    /// What others need to know of each.
    pub(super) fn rumours(&self) -> BTreeMap<String, Rumour> {
        let peers = self.peers.iter();
        peers
            .map(|(name, peer)| (name.clone(), peer.rumour()))
            .collect()
    }

    /// The members that have said that they stop.
    pub(super) fn parted(&self) -> BTreeSet<String> {
        let peers = self.peers.iter();
        let parted = peers.filter(|(_, peer)| peer.is_member && peer.parting.is_some());
        parted.map(|(name, _)| name.clone()).collect()
    }

    /// Whether one of this name is a member that has not said that it stops.
    pub(super) fn is_member(&self, name: &str) -> bool {
        let peer = self.peers.get(name);
        peer.is_some_and(|peer| peer.is_member && peer.parting.is_none())
    }

    /// Whether one that did not answer is presumed to scrape.
    pub(super) fn may_scrape(&self, name: &str) -> bool {
        self.peers.get(name).is_some_and(|peer| {
            let grace = match self.may_be_cut_off(peer) {
                true => self.patience.away,
                false => GRACE,
            };
            peer.parting.is_none() && !peer.is_silent_for(grace)
        })
    }

    /// Whether one has not answered for so long that what is kept for it is to be let go,
    /// before it takes that unasked as [`Self::may_scrape`] says.
    pub(super) fn may_take_unasked(&self, name: &str) -> bool {
        self.peers.get(name).is_some_and(|peer| {
            let silence = match self.may_be_cut_off(peer) {
                true => self.patience.away.mul_f64(0.75),
                false => SILENCE,
            };
            peer.is_silent_for(silence)
        })
    }

    /// Whether an earlier process of this receiver may have Exports under way.
    pub(super) fn i_have_left_exports(&self) -> bool {
        self.own_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether one that did not answer, or lives anew, may have Exports under way that
    /// nobody tells of, or may come back with what is on its disk. As long as it is among
    /// the members it may be cut off from this receiver alone, and what it has may wait.
    pub(super) fn may_export(&self, name: &str) -> bool {
        let peer = self.peers.get(name);
        peer.is_some_and(|peer| peer.may_export(self.patience.away, self.may_be_cut_off(peer)))
    }

    /// Whether the silence of one is rather that it is not reached from here than its end:
    /// those who watch the members count it among them. A fixed list names the dead too.
    fn may_be_cut_off(&self, peer: &Peer) -> bool {
        self.patience.are_ready && peer.is_member && peer.parting.is_none()
    }
}

/// Where nothing is known of those that are not ready, anybody may be.
fn may_be_unready(unready: &Option<BTreeSet<String>>, name: &str) -> bool {
    unready.as_ref().is_none_or(|known| known.contains(name))
}

#[cfg(test)]
mod tests;
