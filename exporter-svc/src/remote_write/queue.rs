//! Pieces that wait, and the requests they are joined into.
//!
//! Pieces of many Exports are joined into one request when they have the same HA
//! pair, fit together, and have no series in common. A series is at most once in
//! a request and in at most one request in flight: a piece that would break that
//! waits until the earlier one is answered, and so does every later piece that
//! has a series in common with it. This keeps the order of a target whose
//! batches meet here, during a handover for instance, and that of several
//! samples of one series in one push.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::BuildHasherDefault,
    sync::Arc,
    time::Duration,
};

use mesh::batch::{Facts, Ha};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    Outcome, Retry,
    piece::{Piece, RequestLimits, TakeAsIs},
};

/// One piece and whoever waits for its outcome.
#[derive(Debug)]
pub struct Work {
    /// What is to be sent.
    pub piece: Piece,
    /// What its sender said of it.
    pub facts: Arc<Facts>,
    /// When its sender has to have an answer.
    pub deadline: Instant,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Outcome>,
    /// The room that its Export takes until all of it has an outcome.
    pub permit: Arc<OwnedSemaphorePermit>,
}

/// The pieces that wait for a request of one destination.
#[derive(Debug)]
pub struct Queue {
    limits: RequestLimits,
    linger: Duration,
    groups: HashMap<Option<Ha>, Group>,
    /// The series of requests in flight.
    in_flight: SeriesSet,
}

/// Pieces with the same HA pair, in the order they came.
#[derive(Debug, Default)]
struct Group {
    waiting: VecDeque<Waiting>,
    series: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    work: Work,
    since: Instant,
}

/// A set of series by their hashes.
type SeriesSet = HashSet<u64, BuildHasherDefault<TakeAsIs>>;

// === impl Queue ===

impl Queue {
    /// An empty queue. A piece waits up to `linger` for others to join.
    pub fn new(limits: RequestLimits, linger: Duration) -> Self {
        Self {
            limits,
            linger,
            groups: HashMap::new(),
            in_flight: SeriesSet::default(),
        }
    }

    /// Adds a piece.
    pub fn push(&mut self, work: Work, now: Instant) {
        let group = self.groups.entry(work.facts.ha.clone()).or_default();
        group.series += work.piece.marks.len();
        group.bytes += work.piece.bytes.len();
        group.waiting.push_back(Waiting { work, since: now });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// When the next group has lingered long enough, of those that have not yet.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let oldest = self
            .groups
            .values()
            .filter_map(|group| group.waiting.front());
        oldest
            .map(|waiting| waiting.since + self.linger)
            .filter(|due| *due > now)
            .min()
    }

    /// Takes the pieces of the next request, those of the group that has waited
    /// longest. With `flush` it does not wait for others to join.
    pub fn take(&mut self, now: Instant, flush: bool) -> Option<Vec<Work>> {
        let mut ready: Vec<_> = self
            .groups
            .iter()
            .filter(|(_, group)| flush || self.is_ready(group, now))
            .filter_map(|(key, group)| Some((group.waiting.front()?.since, key.clone())))
            .collect();
        ready.sort_by_key(|(since, _)| *since);
        ready.into_iter().find_map(|(_, key)| self.take_from(&key))
    }

    fn is_ready(&self, group: &Group, now: Instant) -> bool {
        let lingered = |first: &Waiting| first.since + self.linger <= now;
        group.series >= self.limits.series
            || group.bytes >= self.limits.bytes
            || group.waiting.front().is_some_and(lingered)
    }

    fn take_from(&mut self, key: &Option<Ha>) -> Option<Vec<Work>> {
        let group = self.groups.get_mut(key)?;
        let taken = group.fill(self.limits, &mut self.in_flight);
        if group.waiting.is_empty() {
            self.groups.remove(key);
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// Says that the request with this piece is answered.
    pub fn landed(&mut self, piece: &Piece) {
        for mark in &piece.marks {
            self.in_flight.remove(&mark.hash);
        }
    }

    /// Takes out the pieces for which `gone` gives an outcome, and answers them.
    pub fn sweep(&mut self, mut gone: impl FnMut(&Work) -> Option<Outcome>) {
        self.groups.retain(|_, group| {
            group.sweep(&mut gone);
            !group.waiting.is_empty()
        });
    }

    /// Answers every piece that has a series of `pieces` with a retry: those are
    /// sent again by their sender, and what comes after them must not be stored
    /// before.
    pub fn fail_followers<'a>(&mut self, pieces: impl Iterator<Item = &'a Piece>, retry: &Retry) {
        let failed: SeriesSet = pieces
            .flat_map(|p| &p.marks)
            .map(|mark| mark.hash)
            .collect();
        self.sweep(|work| {
            let follows = work
                .piece
                .marks
                .iter()
                .any(|mark| failed.contains(&mark.hash));
            follows.then(|| {
                Outcome::Retry(Retry {
                    settled: true,
                    ..retry.clone()
                })
            })
        });
    }
}

// === impl Group ===

impl Group {
    /// Takes what fits a request and is not in the way of what is in flight.
    fn fill(&mut self, limits: RequestLimits, in_flight: &mut SeriesSet) -> Vec<Work> {
        let mut taken: Vec<Work> = Vec::new();
        let mut blocked = SeriesSet::default();
        let mut kept = VecDeque::new();
        let (mut series, mut bytes) = (0, 0);
        while let Some(waiting) = self.waiting.pop_front() {
            let piece = &waiting.work.piece;
            let has = |set: &SeriesSet| piece.marks.iter().any(|mark| set.contains(&mark.hash));
            if has(in_flight) || (!blocked.is_empty() && has(&blocked)) {
                blocked.extend(piece.marks.iter().map(|mark| mark.hash));
                kept.push_back(waiting);
                continue;
            }
            (series, bytes) = (series + piece.marks.len(), bytes + piece.bytes.len());
            if !taken.is_empty() && (series > limits.series || bytes > limits.bytes) {
                self.waiting.push_front(waiting);
                break;
            }
            in_flight.extend(piece.marks.iter().map(|mark| mark.hash));
            self.series -= piece.marks.len();
            self.bytes -= piece.bytes.len();
            taken.push(waiting.work);
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
        taken
    }

    fn sweep(&mut self, gone: &mut impl FnMut(&Work) -> Option<Outcome>) {
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        for waiting in self.waiting.drain(..) {
            match gone(&waiting.work) {
                None => kept.push_back(waiting),
                Some(outcome) => {
                    self.series -= waiting.work.piece.marks.len();
                    self.bytes -= waiting.work.piece.bytes.len();
                    // Whoever asked may have left.
                    let _ = waiting.work.reply.send(outcome);
                }
            }
        }
        self.waiting = kept;
    }
}
