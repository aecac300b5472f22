//! The other receivers of the group: members, and those that have left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh::endpoints::Addresses;
use tokio::{sync::watch, time::Instant};

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
    unready: Option<Addresses>,
    /// Counts those that became known.
    pub(super) arrivals: u64,
    pub(super) patience: Patience,
}

/// Another receiver.
#[derive(Debug)]
pub(super) struct Peer {
    is_member: bool,
    /// When it left, was heard of without being a member, or had drained then.
    left: Instant,
    /// Since when it has not answered.
    silent: Option<Instant>,
    /// The number of its process.
    life: Option<u64>,
    /// What its process leaves once it does not answer.
    legacy: Legacy,
    /// When it has said so, to this receiver or to others.
    said: Option<Instant>,
    /// The number of its process that has drained, as others say.
    drained: Option<u64>,
    /// Until when those of a process before may be, that was gone when this one began.
    left_until: Option<Instant>,
    /// It has said that it stops.
    parting: Option<Parting>,
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
    pub(super) fn new(me: String, patience: Patience, unready: Option<Addresses>) -> Self {
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
        let is_gone = Duration::from_millis(rumour.silent_ms) >= legacy.lasts();
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
            peer.left_until = peer.left_until.max(until);
            peer.part_as_told();
        }
    }

    /// Notes those of the group that are not ready as this receiver begins: they end, or
    /// may be back. Who appears later has nothing.
    pub(super) fn learn_of_unready(&mut self) {
        let unready = self.unready.as_ref();
        let unready = unready.and_then(|known| known.borrow().clone());
        for name in unready.unwrap_or_default() {
            self.learn(&name);
        }
    }

    /// Whether one that is no member may be there all the same.
    pub(super) fn may_be_unready(&self, name: &str) -> bool {
        may_be_unready(self.unready.as_ref(), name)
    }

    /// Forgets those that are presumed to be there and have never been heard of, where
    /// they are not listed, or `is_known` says so.
    pub(super) fn dispel(&mut self, is_known: impl Fn(&str) -> bool) {
        let unready = self.unready.as_ref();
        self.peers.retain(|name, peer| {
            let may_be_there = || is_known(name) && may_be_unready(unready, name);
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
        peer.silent = None;
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
    /// `before_ms` then as others say.
    pub(super) fn silent(&mut self, name: &str, asked: Instant, before_ms: u64) {
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let before = Duration::from_millis(before_ms);
        let since = asked.checked_sub(before).unwrap_or(asked);
        peer.silent = Some(peer.silent.map_or(since, |known| known.min(since)));
        peer.part_as_told();
    }

    /// Forgets those that have left and are gone. That one has drained is known for as
    /// long as others may say that it is there: they find that it is not.
    pub(super) fn forget(&mut self) {
        self.peers.retain(|_, peer| {
            let is_gone = match peer.is_drained() {
                true => peer.left.elapsed() >= peer.legacy.exports() * 2,
                false => {
                    peer.is_silent_for(peer.legacy.lasts())
                        && !peer.may_export(self.patience.away, false)
                }
            };
            peer.is_member || !is_gone && peer.left.elapsed() < MEMORY
        });
    }

    /// Those that are to be asked, and how long each has for an answer.
    pub(super) fn to_ask(&self) -> impl Iterator<Item = (&String, Duration)> {
        let here = self.peers.iter().filter(|(_, peer)| !peer.is_over());
        here.map(
            |(name, peer)| match peer.silent.is_some() || peer.is_drained() {
                true => (name, BRIEF),
                false => (name, ANSWER_TIME),
            },
        )
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

// === impl Peer ===

impl Peer {
    fn new(legacy: Legacy) -> Self {
        Self {
            is_member: false,
            left: Instant::now(),
            silent: None,
            life: None,
            legacy,
            said: None,
            drained: None,
            left_until: None,
            parting: None,
        }
    }

    /// Takes up what it said of what it leaves, as others tell. The latest word counts,
    /// and of two of about the same time the one that is worse.
    fn has_said(&mut self, said: Instant, legacy: Legacy, drained: Option<u64>) {
        let known = self.said;
        if known.is_none_or(|known| said > known + ANSWER_TIME) {
            (self.said, self.legacy, self.drained) = (Some(said), legacy, drained);
        } else if known.is_some_and(|known| said + ANSWER_TIME >= known) {
            self.legacy = self.legacy.max(&legacy);
            self.drained = self.drained.or(drained);
        }
    }

    /// Where it does not answer any more, and others know that its process has drained:
    /// that of which it was last heard, or where it was never heard of and is no member,
    /// one that was there as this receiver began.
    fn part_as_told(&mut self) {
        let is_it = |drained| self.life.map_or(!self.is_member, |life| life == drained);
        if self.silent.is_some() && self.drained.is_some_and(is_it) {
            self.parting = Some(Parting::Drained);
        }
    }

    /// Since when nobody has heard of it, as far as this receiver knows.
    fn unheard(&self) -> Option<Instant> {
        self.silent
            .map(|since| self.said.map_or(since, |said| said.max(since)))
    }

    fn is_silent_for(&self, time: Duration) -> bool {
        self.silent.is_some_and(|since| since.elapsed() >= time)
    }

    /// Whether it may have Exports under way, or deliver more; for no longer than `away`
    /// where it is only not reached from here, as others hear it or it is a member.
    fn may_export(&self, away: Duration, is_cut_off: bool) -> bool {
        let lasts = self.legacy.lasts();
        let is_heard = self.said.is_some_and(|said| said.elapsed() < lasts);
        let is_silent = self.silent.is_some_and(|since| {
            let silent = since.elapsed();
            silent < lasts || silent < away && (is_cut_off || is_heard)
        });
        let has_left_some = self.left_until.is_some_and(|until| Instant::now() < until);
        !self.is_drained() && is_silent || has_left_some
    }

    fn rumour(&self) -> Rumour {
        let silent = self.unheard().map(|since| since.elapsed());
        let left = self
            .left_until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let ms = |time: Duration| time.as_millis() as u64;
        Rumour {
            silent_ms: ms(silent.unwrap_or_default()),
            legacy: self.legacy,
            said_ms: self.said.map(|said| ms(said.elapsed())),
            left_behind_ms: ms(left.unwrap_or_default()),
            drained: self.life.or(self.drained).filter(|_| self.is_drained()),
        }
    }

    fn is_drained(&self) -> bool {
        self.parting == Some(Parting::Drained)
    }

    /// Whether it has left, and nothing of it waits.
    fn is_over(&self) -> bool {
        self.is_drained() && !self.is_member
    }
}

/// Where nothing is known of those that are not ready, anybody may be.
fn may_be_unready(unready: Option<&Addresses>, name: &str) -> bool {
    let Some(known) = unready.map(watch::Receiver::borrow) else {
        return true;
    };
    known.as_ref().is_none_or(|known| known.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const PATIENT: super::Patience = super::Patience {
        are_ready: true,
        timeout: TIMEOUT,
        away: Duration::from_secs(60),
        spills: false,
    };

    fn asked(peers: &Peers) -> Vec<(&str, u64)> {
        let asked = peers.to_ask();
        asked
            .map(|(name, has)| (name.as_str(), has.as_millis() as u64))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rumour_does_not_bring_back_one_that_has_drained() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        let members = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        peers.follow(&members(&["b:1", "c:1"]));
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
        // Its name may be another's by now, who would answer at once.
        peers.parts("b:1", Parting::Drained);
        assert_eq!(asked(&peers), [("b:1", 250), ("c:1", 1_000)]);
        peers.follow(&members(&["c:1"]));
        peers.forget();
        peers.learn_of("b:1", &Rumour::default(), Instant::now());
        assert_eq!(asked(&peers), [("c:1", 1_000)]);
        assert!(!peers.are_watched());
        // Whoever asks is there.
        peers.heard(
            "b:1",
            Life {
                number: 1,
                ..Life::default()
            },
        );
        peers.parts("b:1", Parting::Drained);
        peers.heard(
            "b:1",
            Life {
                number: 2,
                ..Life::default()
            },
        );
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
        peers.parts("b:1", Parting::Drained);
        assert_eq!(peers.rumours()["b:1"].drained, Some(2));
        tokio::time::advance(TIMEOUT * 2).await;
        peers.forget();
        peers.follow(&members(&[]));
        peers.learn_of("b:1", &Rumour::default(), Instant::now());
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_is_back_has_not_parted() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        let members = BTreeSet::from(["b:1".to_owned()]);
        peers.follow(&members);
        peers.parts("b:1", Parting::Stopped);
        // News of the members are older than what it says.
        peers.follow(&members);
        assert_eq!(peers.parted(), members);
        peers.follow(&BTreeSet::new());
        peers.follow(&members);
        assert!(peers.parted().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_drained_and_left_is_nobody_to_ask() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        peers.learn("b:1");
        assert!(!peers.is_empty());
        peers.parts("b:1", Parting::Drained);
        assert!(peers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_answer_does_not_undo_that_one_has_drained() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        peers.follow(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
        peers.parts("b:1", Parting::Stopped);
        peers.parts("b:1", Parting::Drained);
        peers.parts("b:1", Parting::Stopped);
        assert_eq!(asked(&peers), [("b:1", 250), ("c:1", 1_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_gone_before_is_taken_for_drained_by_what_others_say() {
        let drained = Rumour {
            said_ms: Some(0),
            drained: Some(1),
            ..Rumour::default()
        };
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        // News of the members may be older than this process.
        peers.follow(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
        peers.follow(&BTreeSet::from(["c:1".to_owned()]));
        peers.learn_of("b:1", &drained, Instant::now());
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
        // It may be a new process of the name that is there.
        peers.silent("b:1", Instant::now(), 0);
        assert!(!peers.may_scrape("b:1") && !peers.may_export("b:1"));
        assert_eq!(asked(&peers), [("c:1", 1_000)]);
        // A new process of the name says itself that it is there.
        let process = |number| Life {
            number,
            ..Life::default()
        };
        peers.heard("b:1", process(2));
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
        peers.silent("b:1", Instant::now(), 0);
        peers.learn_of("b:1", &drained, Instant::now());
        assert!(peers.may_scrape("b:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_others_tell_the_latest_word_counts() {
        let word = |said_ms, away_ms| Rumour {
            said_ms,
            legacy: Legacy {
                away_ms,
                ..Legacy::default()
            },
            ..Rumour::default()
        };
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        peers.follow(&BTreeSet::from(["b:1".to_owned()]));
        let mut away_ms = |rumour| {
            peers.learn_of("b:1", &rumour, Instant::now());
            peers.rumours()["b:1"].legacy.away_ms
        };
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(away_ms(word(None, 60_000)), 0, "it is presumed only");
        assert_eq!(away_ms(word(Some(20_000), 60_000)), 60_000);
        assert_eq!(away_ms(word(Some(19_500), 0)), 60_000);
        assert_eq!(away_ms(word(Some(10_000), 0)), 0);
        assert_eq!(away_ms(word(Some(15_000), 60_000)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_slows_nothing_down() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        peers.follow(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
        peers.silent("b:1", Instant::now(), 0);
        assert_eq!(asked(&peers), [("b:1", 250), ("c:1", 1_000)]);
        peers.heard("b:1", Life::default());
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_others_still_hear_may_deliver() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        peers.learn("b:1");
        peers.silent("b:1", Instant::now(), 0);
        let heard = Rumour {
            said_ms: Some(0),
            ..Rumour::default()
        };
        for _ in 0..3 {
            tokio::time::advance(TIMEOUT * 2 / 3).await;
            peers.learn_of("b:1", &heard, Instant::now());
            assert!(peers.may_export("b:1"));
        }
        // What it scrapes may be taken nevertheless.
        assert!(!peers.may_scrape("b:1"));
        tokio::time::advance(TIMEOUT).await;
        assert!(!peers.may_export("b:1"));
        peers.learn_of("b:1", &heard, Instant::now());
        assert!(peers.may_export("b:1"));
        // Some are cut off for days.
        tokio::time::advance(PATIENT.away).await;
        peers.learn_of("b:1", &heard, Instant::now());
        assert!(!peers.may_export("b:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_not_ready_and_is_gone_is_not_waited_for() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let (sender, unready) = watch::channel(names(&["b:1", "c:1"]));
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, Some(unready));
        peers.learn_of_unready();
        peers.heard("c:1", Life::default());
        peers.dispel(|_| true);
        assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
        sender.send_replace(names(&[]));
        peers.dispel(|_| true);
        assert_eq!(asked(&peers), [("c:1", 1_000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_reached_has_drained_where_others_heard_it_say_so() {
        let mut peers = Peers::new("a:1".to_owned(), PATIENT, None);
        peers.follow(&BTreeSet::from(["b:1".to_owned()]));
        let process = |number| Life {
            number,
            ..Life::default()
        };
        peers.heard("b:1", process(1));
        peers.silent("b:1", Instant::now(), 0);
        let drained = Rumour {
            said_ms: Some(0),
            drained: Some(1),
            ..Rumour::default()
        };
        peers.learn_of("b:1", &drained, Instant::now());
        assert!(!peers.may_export("b:1"));
        // It has left nothing for which a new process of its name is waited for.
        peers.heard("b:1", process(2));
        assert!(!peers.may_export("b:1"));
    }
}
