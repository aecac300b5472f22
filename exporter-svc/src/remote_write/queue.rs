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
    collections::{BTreeMap, HashSet, VecDeque},
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
    /// When its Export came.
    pub started: Instant,
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
    groups: BTreeMap<Option<Ha>, Group>,
    /// The series of requests in flight.
    in_flight: SeriesSet,
    /// Units of pieces whose senders had left, since the last sweep.
    left: u64,
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
            groups: BTreeMap::new(),
            in_flight: SeriesSet::default(),
            left: 0,
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
    /// longest. With `flush` it does not wait for others to join. What has no sender
    /// any more is left out: a process that stood still may find here what was sent
    /// again long ago, and has been overtaken.
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
        let taken = group.fill(self.limits, &mut self.in_flight, &mut self.left);
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
    /// Returns how many units they have, with those left out since the last time.
    pub fn sweep(&mut self, mut gone: impl FnMut(&Work) -> Option<Outcome>) -> u64 {
        let mut units = std::mem::take(&mut self.left);
        self.groups.retain(|_, group| {
            units += group.sweep(&mut gone);
            !group.waiting.is_empty()
        });
        units
    }

    /// Answers every piece that has a series of `pieces` with a retry: those are
    /// sent again by their sender, and what comes after them must not be stored
    /// before. Returns how many units they have.
    pub fn fail_followers<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a Piece>,
        retry: &Retry,
    ) -> u64 {
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
        })
    }
}

// === impl Group ===

impl Group {
    /// Takes what fits a request and is not in the way of what is in flight.
    fn fill(
        &mut self,
        limits: RequestLimits,
        in_flight: &mut SeriesSet,
        left: &mut u64,
    ) -> Vec<Work> {
        let mut taken: Vec<Work> = Vec::new();
        let mut blocked = SeriesSet::default();
        let mut kept = VecDeque::new();
        let (mut series, mut bytes) = (0, 0);
        while let Some(waiting) = self.waiting.pop_front() {
            let piece = &waiting.work.piece;
            if waiting.work.reply.is_closed() {
                self.forget(piece);
                *left += piece.units;
                continue;
            }
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
            self.forget(piece);
            taken.push(waiting.work);
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
        taken
    }

    fn sweep(&mut self, gone: &mut impl FnMut(&Work) -> Option<Outcome>) -> u64 {
        let mut units = 0;
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        for waiting in std::mem::take(&mut self.waiting) {
            match gone(&waiting.work) {
                None => kept.push_back(waiting),
                Some(outcome) => {
                    self.forget(&waiting.work.piece);
                    units += waiting.work.piece.units;
                    // Whoever asked may have left.
                    let _ = waiting.work.reply.send(outcome);
                }
            }
        }
        self.waiting = kept;
        units
    }

    /// Counts a piece out that does not wait here any more.
    fn forget(&mut self, piece: &Piece) {
        self.series -= piece.marks.len();
        self.bytes -= piece.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::remote_write::{
        Cause,
        piece::{Mark, Piece},
    };

    const LINGER: Duration = Duration::from_millis(20);

    fn queue(series: usize) -> Queue {
        Queue::new(
            RequestLimits {
                series,
                bytes: 1000,
            },
            LINGER,
        )
    }

    /// A piece of these series of ten bytes each, and where its outcome comes.
    fn work(replica: Option<&str>, hashes: &[u64]) -> (Work, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        let ha = replica.map(|replica| Ha {
            cluster: "c".to_owned(),
            replica: replica.to_owned(),
        });
        let mark = |(i, &hash): (usize, &u64)| Mark {
            hash,
            end: (i + 1) * 10,
            family: 0,
            resource: 0,
            start_ms: 0,
        };
        let piece = Piece {
            bytes: vec![0; hashes.len() * 10],
            marks: hashes.iter().enumerate().map(mark).collect(),
            ..Default::default()
        };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let work = Work {
            piece,
            facts: Arc::new(Facts {
                ha,
                ..Default::default()
            }),
            started: Instant::now(),
            deadline: Instant::now() + Duration::from_secs(10),
            reply,
            permit: Arc::new(permit),
        };
        (work, outcome)
    }

    fn push(
        queue: &mut Queue,
        replica: Option<&str>,
        hashes: &[u64],
    ) -> oneshot::Receiver<Outcome> {
        let (work, outcome) = work(replica, hashes);
        queue.push(work, Instant::now());
        outcome
    }

    /// The series of the next request.
    fn take(queue: &mut Queue) -> Option<Vec<u64>> {
        let works = queue.take(Instant::now(), true)?;
        let marks = works.iter().flat_map(|work| &work.piece.marks);
        Some(marks.map(|mark| mark.hash).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_linger_unless_a_request_is_full() {
        let mut queue = queue(3);
        let _one = push(&mut queue, None, &[1, 2]);
        let due = queue.due(Instant::now()).unwrap();
        assert_eq!(due, Instant::now() + LINGER);
        assert!(queue.take(Instant::now(), false).is_none());
        assert_eq!(queue.take(due, false).unwrap().len(), 1);
        let _two = [
            push(&mut queue, None, &[3]),
            push(&mut queue, None, &[4, 5]),
        ];
        assert_eq!(queue.take(Instant::now(), false).unwrap().len(), 2);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_bounded_but_for_its_first_piece() {
        let mut queue = queue(3);
        let _replies: Vec<_> = [&[1, 2][..], &[3, 4], &[5, 6, 7, 8, 9]]
            .map(|hashes| push(&mut queue, None, hashes))
            .into();
        assert_eq!(take(&mut queue), Some(vec![1, 2]));
        assert_eq!(take(&mut queue), Some(vec![3, 4]));
        assert_eq!(take(&mut queue), Some(vec![5, 6, 7, 8, 9]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_series_waits_for_its_earlier_sample_and_so_does_what_follows() {
        let mut queue = queue(100);
        let _first = push(&mut queue, None, &[1, 2]);
        let landed = queue.take(Instant::now(), true).unwrap().remove(0).piece;
        // 2 is in flight; 3 is free by itself but comes after 3 with 2.
        let _rest = [&[2, 3][..], &[3, 4], &[5]].map(|hashes| push(&mut queue, None, hashes));
        assert_eq!(take(&mut queue), Some(vec![5]));
        assert_eq!(take(&mut queue), None);
        queue.landed(&landed);
        assert_eq!(take(&mut queue), Some(vec![2, 3]));
        assert_eq!(take(&mut queue), None);
    }

    #[tokio::test(start_paused = true)]
    async fn pairs_do_not_mix_and_take_turns() {
        let mut queue = queue(100);
        let _a = push(&mut queue, Some("a"), &[1]);
        tokio::time::advance(Duration::from_millis(1)).await;
        let _rest =
            [("b", 2), ("a", 3)].map(|(replica, hash)| push(&mut queue, Some(replica), &[hash]));
        assert_eq!(take(&mut queue), Some(vec![1, 3]));
        assert_eq!(take(&mut queue), Some(vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_sender_any_more_is_not_sent() {
        let mut queue = queue(100);
        let (mut gone, outcome) = work(None, &[1, 2]);
        gone.piece.units = 2;
        queue.push(gone, Instant::now());
        let _there = push(&mut queue, None, &[2, 3]);
        drop(outcome);
        assert_eq!(take(&mut queue), Some(vec![2, 3]));
        assert!(queue.is_empty());
        assert_eq!((queue.sweep(|_| None), queue.sweep(|_| None)), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_failure_fails_with_it() {
        let mut queue = queue(100);
        let (failed, _) = work(None, &[1, 2]);
        let (mut follower, mut other) = (
            push(&mut queue, None, &[2, 3]),
            push(&mut queue, None, &[4]),
        );
        let retry = Retry {
            cause: Cause::Unavailable,
            after: Duration::ZERO,
            settled: false,
            slow: false,
            message: String::new(),
        };
        queue.fail_followers([&failed.piece].into_iter(), &retry);
        // It was never sent itself, whatever became of the other.
        let outcome = follower.try_recv().unwrap();
        assert_eq!(
            outcome,
            Outcome::Retry(Retry {
                settled: true,
                ..retry
            })
        );
        assert!(other.try_recv().is_err());
        assert_eq!(take(&mut queue), Some(vec![4]));
    }
}
