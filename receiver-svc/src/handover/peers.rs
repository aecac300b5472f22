//! The other receivers of the group: members, and those that have left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The other receivers that are known.
#[derive(Debug)]
pub(super) struct Peers {
    me: String,
    peers: BTreeMap<String, Peer>,
    /// Counts those that became known.
    pub(super) arrivals: u64,
    /// How long one that does not answer may still have Exports under way.
    timeout: Duration,
}

/// Another receiver.
#[derive(Debug)]
pub(super) struct Peer {
    is_member: bool,
    /// When it left, or was heard of without being a member.
    left: Instant,
    /// Since when it has not answered.
    silent: Option<Instant>,
    /// The number of its process.
    life: Option<u64>,
    /// When a process began that is another than before.
    reborn: Option<Instant>,
    /// It has said that it stops.
    parting: Option<Parting>,
}

/// A process of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Life {
    /// A number that every process draws.
    pub(super) number: u64,
    /// For how many milliseconds it has lived.
    pub(super) age_ms: u64,
}

/// What a receiver says that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Parting {
    /// It scrapes nothing any more.
    Stopped,
    /// Nor does anything wait in its outbox.
    Drained,
}

/// As many are remembered: names come over the network.
const MOST: usize = 1000;
/// One that has left is forgotten after this time in any case.
const MEMORY: Duration = Duration::from_secs(600);

// === impl Peers ===

impl Peers {
    pub(super) fn new(me: String, timeout: Duration) -> Self {
        Self {
            me,
            peers: BTreeMap::new(),
            arrivals: 0,
            timeout,
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
            peer.is_member = members.contains(name);
        }
        for name in members {
            self.learn(name);
            if let Some(peer) = self.peers.get_mut(name) {
                peer.is_member = true;
            }
        }
    }

    /// Notes that there is a receiver of this name.
    pub(super) fn learn(&mut self, name: &str) {
        let is_known = self.peers.contains_key(name) || name == self.me;
        if !is_known && self.peers.len() < MOST {
            self.peers.insert(name.to_owned(), Peer::new());
            self.arrivals += 1;
        }
    }

    /// Notes that there is one that has not answered others for so long. One that is
    /// gone is not learned of again.
    pub(super) fn learn_of(&mut self, name: &str, silent: Duration) {
        if silent < self.timeout {
            self.learn(name);
        }
    }

    /// Notes that a process of this name lives. Where it is another than before, that
    /// one was gone when this one began.
    pub(super) fn heard(&mut self, name: &str, life: Life) {
        self.learn(name);
        if let Some(peer) = self.peers.get_mut(name) {
            peer.silent = None;
            let before = peer.life.replace(life.number);
            if before.is_some_and(|before| before != life.number) {
                let was_drained = peer.parting.take() == Some(Parting::Drained);
                peer.reborn = match was_drained {
                    true => None,
                    false => Instant::now().checked_sub(Duration::from_millis(life.age_ms)),
                };
            }
        }
    }

    /// Notes that the process that was heard of last stops.
    pub(super) fn parts(&mut self, name: &str, parting: Parting) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.parting = Some(parting);
        }
    }

    /// Notes that one does not answer what it was asked at `asked`, and had not for
    /// `before` then as others say.
    pub(super) fn silent(&mut self, name: &str, asked: Instant, before: Duration) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let since = asked.checked_sub(before).unwrap_or(asked);
        peer.silent = Some(peer.silent.map_or(since, |known| known.min(since)));
    }

    /// Forgets those that have left and are gone.
    pub(super) fn forget(&mut self) {
        let timeout = self.timeout;
        self.peers.retain(|_, peer| {
            let is_gone = peer.is_silent_for(timeout) && !peer.may_export(timeout);
            let is_gone = is_gone || peer.is_drained();
            peer.is_member || !is_gone && peer.left.elapsed() < MEMORY
        });
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.peers.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether some are to be asked even where nothing is claimed: those that have left
    /// until they are gone, and those that do not answer until they do, so that their
    /// silence is no older than it is said to be.
    pub(super) fn are_watched(&self) -> bool {
        let mut peers = self.peers.values();
        peers.any(|peer| !peer.is_member || peer.silent.is_some())
    }

    /// For how long each has not answered, but for those that matter to nobody.
    pub(super) fn silences(&self) -> BTreeMap<String, Duration> {
        let peers = self.peers.iter().filter(|(_, peer)| !peer.is_drained());
        let silences = peers.map(|(name, peer)| {
            let silent = peer.silent.map(|since| since.elapsed());
            (name.clone(), silent.unwrap_or_default())
        });
        silences.collect()
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

    /// Whether one has not answered for this long.
    pub(super) fn is_silent_for(&self, name: &str, time: Duration) -> bool {
        let peer = self.peers.get(name);
        peer.is_some_and(|peer| peer.is_silent_for(time))
    }

    /// Whether one that did not answer is presumed to scrape.
    pub(super) fn may_scrape(&self, name: &str, grace: Duration) -> bool {
        let peer = self.peers.get(name);
        peer.is_some_and(|peer| peer.parting.is_none() && !peer.is_silent_for(grace))
    }

    /// Whether one that did not answer, or lives anew, may have Exports under way that
    /// nobody tells of.
    pub(super) fn may_export(&self, name: &str) -> bool {
        let peer = self.peers.get(name);
        peer.is_some_and(|peer| peer.may_export(self.timeout))
    }
}

// === impl Peer ===

impl Peer {
    fn new() -> Self {
        Self {
            is_member: false,
            left: Instant::now(),
            silent: None,
            life: None,
            reborn: None,
            parting: None,
        }
    }

    fn is_silent_for(&self, time: Duration) -> bool {
        self.silent.is_some_and(|since| since.elapsed() >= time)
    }

    fn may_export(&self, timeout: Duration) -> bool {
        let is_recent = |since: Option<Instant>| since.is_some_and(|s| s.elapsed() < timeout);
        !self.is_drained() && is_recent(self.silent) || is_recent(self.reborn)
    }

    fn is_drained(&self) -> bool {
        self.parting == Some(Parting::Drained)
    }
}
