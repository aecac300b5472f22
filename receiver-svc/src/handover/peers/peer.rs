//! Another receiver, as far as it is known.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::news::{Legacy, Parting, Rumour},
    ANSWER_TIME,
};

/// Another receiver.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) is_member: bool,
    /// When it left, was heard of without being a member, or had drained then.
    pub(super) left: Instant,
    /// When this receiver has heard of it last.
    pub(super) heard: Option<Instant>,
    /// It was, since it was asked what it has not answered.
    pub(super) is_slow: bool,
    /// Since when it has not answered.
    pub(super) silent: Option<Instant>,
    /// The number of its process.
    pub(super) life: Option<u64>,
    /// What its process leaves once it does not answer.
    pub(super) legacy: Legacy,
    /// When it has said so, to this receiver or to others.
    pub(super) said: Option<Instant>,
    /// The number of its process that has drained, as others say.
    pub(super) drained: Option<u64>,
    /// Until when those of a process before may be, that was gone when this one began.
    pub(super) left_until: Option<Instant>,
    /// It has said that it stops.
    pub(super) parting: Option<Parting>,
    pub(super) pod: Pod,
}

/// What is known of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pod {
    /// It was never found listed here, and nobody says that it is gone.
    Unknown,
    /// Kubernetes lists it, ready or not.
    Listed,
    /// It was listed, and is not any more since.
    Unlisted(Instant),
    /// Others have found that, and this receiver has never found it listed.
    Deleted,
}

/// As long a pod that has become ready, or is not any more, may be in neither list.
const BETWEEN: Duration = Duration::from_secs(2);

// === impl Peer ===

impl Peer {
    pub(super) fn new(legacy: Legacy) -> Self {
        Self {
            is_member: false,
            left: Instant::now(),
            heard: None,
            is_slow: false,
            silent: None,
            life: None,
            legacy,
            said: None,
            drained: None,
            left_until: None,
            parting: None,
            pod: Pod::Unknown,
        }
    }

    /// Takes up whether Kubernetes lists its pod.
    pub(super) fn look_up(&mut self, is_listed: bool) {
        self.pod = match self.pod {
            _ if is_listed => Pod::Listed,
            Pod::Listed => Pod::Unlisted(Instant::now()),
            pod => pod,
        };
    }

    /// Whether its pod has been deleted, and its disk with it.
    fn is_deleted(&self) -> bool {
        match self.pod {
            Pod::Unknown | Pod::Listed => false,
            Pod::Unlisted(since) => since.elapsed() >= BETWEEN,
            Pod::Deleted => true,
        }
    }

    /// For how long what it leaves is waited for.
    fn lasts(&self) -> Duration {
        self.legacy.remains(self.is_deleted()).lasts()
    }

    /// Takes up what it said of what it leaves, as others tell. The latest word counts,
    /// and of two of about the same time the one that is worse.
    pub(super) fn has_said(&mut self, said: Instant, legacy: Legacy, drained: Option<u64>) {
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
    pub(super) fn part_as_told(&mut self) {
        let is_it = |drained| self.life.map_or(!self.is_member, |life| life == drained);
        if self.silent.is_some() && self.drained.is_some_and(is_it) {
            self.parting = Some(Parting::Drained);
        }
    }

    /// Since when nobody has heard of it, as far as this receiver knows.
    pub(super) fn unheard(&self) -> Option<Instant> {
        self.silent
            .map(|since| self.said.map_or(since, |said| said.max(since)))
    }

    pub(super) fn is_silent_for(&self, time: Duration) -> bool {
        self.silent.is_some_and(|since| since.elapsed() >= time)
    }

    /// Whether it may have Exports under way, or deliver more; for no longer than `away`
    /// where it is only not reached from here, as others hear it or it is a member.
    pub(super) fn may_export(&self, away: Duration, is_cut_off: bool) -> bool {
        let lasts = self.lasts();
        let is_heard = self.said.is_some_and(|said| said.elapsed() < lasts);
        let is_silent = self.silent.is_some_and(|since| {
            let silent = since.elapsed();
            silent < lasts || silent < away && (is_cut_off || is_heard)
        });
        let has_left_some = self.left_until.is_some_and(|until| Instant::now() < until);
        !self.is_drained() && is_silent || has_left_some
    }

    pub(super) fn rumour(&self) -> Rumour {
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
            deleted: self.is_deleted(),
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.parting == Some(Parting::Drained)
    }

    /// Whether its pod has been deleted, and nothing of it is under way any more.
    fn has_vanished(&self) -> bool {
        let is_past = |since: Instant| since.elapsed() >= self.lasts();
        self.is_deleted() && self.unheard().is_some_and(is_past)
    }

    /// Whether it has left, and nothing of it waits.
    pub(super) fn is_over(&self) -> bool {
        !self.is_member && (self.is_drained() || self.has_vanished())
    }

    /// Whether it need not be remembered. That it is over is, as long as others may say that
    /// it is there: they find that it is not, or have not heard yet that its pod is gone.
    pub(super) fn is_gone(&self, away: Duration) -> bool {
        let is_past = |since: Instant| since.elapsed() >= self.legacy.lasts() * 2;
        match () {
            () if self.is_drained() => self.left.elapsed() >= self.legacy.exports() * 2,
            () if self.has_vanished() => self.unheard().is_some_and(is_past),
            () => self.silent.is_some() && !self.may_export(away, false),
        }
    }
}
