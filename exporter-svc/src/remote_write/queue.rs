//! Queue of request parts, and their selection into requests.
//!
//! A request takes parts of many Exports that have the same HA pair, fit together, and
//! have no series in common. Each series is in at most one request in flight. A part
//! that would violate this waits until the earlier request completes, and so does every
//! later part with one of its series. This keeps the order of a target whose batches
//! meet here, for example during a handover. It also keeps the order of several samples
//! of one series in a push.
//!
//! A part that a backend has refused before travels alone, so that finding its refused
//! samples does not delay others.
//!
//! A pushed sample that follows another one of its series at once does not linger. Its
//! sender waits for each of them, and hundreds of lingers would exceed its timeout.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::BuildHasherDefault,
    sync::Arc,
    time::Duration,
};

use mesh_contract::batch::{BatchContext, Ha, Origin};
use tokio::{sync::oneshot, time::Instant};

use super::{
    PartOutcome, Retry,
    part::{PrehashedHasher, RequestLimits, RequestPart},
    search::Counts,
};
use crate::memory::ExportMemory;

/// Request part whose outcome is pending.
#[derive(Debug)]
pub struct PendingPart {
    /// Series to send.
    pub part: RequestPart,
    /// Series of the same part that earlier attempts have decided.
    pub before: Counts,
    /// Batch context of the Export.
    pub context: Arc<BatchContext>,
    /// Arrival time of the Export.
    pub started: Instant,
    /// Deadline of the Export.
    pub deadline: Instant,
    /// Channel for the outcome.
    pub reply: oneshot::Sender<PartOutcome>,
    /// Memory of the Export, released after the last outcome of its parts.
    pub memory: Arc<ExportMemory>,
}

/// Parts of one destination that wait for a request.
#[derive(Debug)]
pub struct Queue {
    /// Configured maximum size of a request.
    configured: RequestLimits,
    /// Current maximum size of a request.
    limits: RequestLimits,
    linger: Duration,
    groups: BTreeMap<Option<Ha>, Group>,
    /// Series of the requests in flight.
    in_flight: SeriesSet,
    /// Pushed series of the last requests, with the time of the response.
    answered: HashMap<u64, Instant, BuildHasherDefault<PrehashedHasher>>,
    /// Number of samples whose senders disconnected, since the last sweep.
    abandoned: u64,
}

/// Parts with the same HA pair, in order of arrival.
#[derive(Debug, Default)]
struct Group {
    queued: VecDeque<QueuedPart>,
    series: usize,
    bytes: usize,
}

#[derive(Debug)]
struct QueuedPart {
    pending: PendingPart,
    queued_at: Instant,
}

/// Time after a response within which a pushed sample of the same series does not linger.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
/// Maximum number of series of one part to remember and to look for.
const MAX_FOLLOWED: usize = 256;
/// Maximum number of series to remember.
const MAX_ANSWERED: usize = 1 << 14;

/// Set of series, by hash.
type SeriesSet = HashSet<u64, BuildHasherDefault<PrehashedHasher>>;

// === impl Queue ===

impl Queue {
    /// Creates an empty queue whose parts wait up to `linger` for others to share a
    /// request.
    pub fn new(limits: RequestLimits, linger: Duration) -> Self {
        Self {
            configured: limits,
            limits,
            linger,
            groups: BTreeMap::new(),
            in_flight: SeriesSet::default(),
            answered: HashMap::default(),
            abandoned: 0,
        }
    }

    /// Limits the size of requests to `bytes`, or to the configured size if that is less.
    pub fn limit_bytes(&mut self, bytes: usize) {
        self.limits.bytes = self.configured.bytes.min(bytes);
    }

    /// Adds a part.
    pub fn push(&mut self, pending: PendingPart, now: Instant) {
        let lingered = now
            .checked_sub(self.linger)
            .filter(|_| self.follows(&pending, now));
        let group = self.groups.entry(pending.context.ha.clone()).or_default();
        group.series += pending.part.series_meta.len();
        group.bytes += pending.part.bytes.len();
        group.queued.push_back(QueuedPart {
            pending,
            queued_at: lingered.unwrap_or(now),
        });
    }

    /// Returns true if the part is of a push and the backend has just responded to a request
    /// with one of its series.
    fn follows(&self, pending: &PendingPart, now: Instant) -> bool {
        let mut series = pending.part.series_meta.iter().take(MAX_FOLLOWED);
        pending.context.origin == Origin::Otlp
            && series.any(|meta| {
                let answered = self.answered.get(&meta.hash);
                answered.is_some_and(|at| now.duration_since(*at) < FOLLOWS_WITHIN)
            })
    }

    /// Returns true if no part waits.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Earliest future time at which a group has lingered long enough to be sent.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let oldest = self
            .groups
            .values()
            .filter_map(|group| group.queued.front());
        oldest
            .map(|queued| queued.queued_at + self.linger)
            .filter(|due| *due > now)
            .min()
    }

    /// Takes the parts of the next request, from the group that has waited longest.
    /// With `flush` the linger does not apply.
    ///
    /// Skips parts whose sender has disconnected. After a pause of the process they may
    /// be outdated: the sender has retried them elsewhere since.
    pub fn take(&mut self, now: Instant, flush: bool) -> Option<Vec<PendingPart>> {
        let mut ready: Vec<_> = self
            .groups
            .iter()
            .filter(|(_, group)| flush || self.is_ready(group, now))
            .filter_map(|(key, group)| Some((group.queued.front()?.queued_at, key.clone())))
            .collect();
        ready.sort_by_key(|(queued_at, _)| *queued_at);
        ready.into_iter().find_map(|(_, key)| self.take_from(&key))
    }

    fn is_ready(&self, group: &Group, now: Instant) -> bool {
        let lingered = |first: &QueuedPart| first.queued_at + self.linger <= now;
        group.series >= self.limits.series
            || group.bytes >= self.limits.bytes
            || group.queued.front().is_some_and(lingered)
    }

    fn take_from(&mut self, key: &Option<Ha>) -> Option<Vec<PendingPart>> {
        let group = self.groups.get_mut(key)?;
        let taken = group.fill(self.limits, &mut self.in_flight, &mut self.abandoned);
        if group.queued.is_empty() {
            self.groups.remove(key);
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// Marks the series of a completed request's part as no longer in flight.
    pub fn complete(&mut self, pending: &PendingPart, now: Instant) {
        let series = &pending.part.series_meta;
        for meta in series {
            self.in_flight.remove(&meta.hash);
        }
        if pending.context.origin == Origin::Otlp {
            if self.answered.len() > MAX_ANSWERED {
                self.answered.clear();
            }
            let series = series.iter().take(MAX_FOLLOWED);
            self.answered.extend(series.map(|meta| (meta.hash, now)));
        }
    }

    /// Removes the parts for which `outcome_of` returns an outcome, and sends it.
    /// Returns the number of their samples, including those skipped since the last
    /// sweep.
    pub fn sweep(
        &mut self,
        mut outcome_of: impl FnMut(&PendingPart) -> Option<PartOutcome>,
    ) -> u64 {
        let mut units = std::mem::take(&mut self.abandoned);
        self.groups.retain(|_, group| {
            units += group.sweep(&mut outcome_of);
            !group.queued.is_empty()
        });
        units
    }

    /// Returns every part that shares a series with the failed `parts` to its sender for a
    /// retry. The senders retry the failed parts, and later samples must not overtake them.
    /// Returns the number of affected samples.
    pub fn return_followers<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a RequestPart>,
        retry: &Retry,
    ) -> u64 {
        let failed: SeriesSet = parts
            .flat_map(|p| &p.series_meta)
            .map(|meta| meta.hash)
            .collect();
        self.sweep(|pending| {
            let follows = pending
                .part
                .series_meta
                .iter()
                .any(|meta| failed.contains(&meta.hash));
            follows.then(|| {
                PartOutcome::Retry(Retry {
                    settled: true,
                    ..retry.clone()
                })
            })
        })
    }
}

// === impl Group ===

impl Group {
    /// Takes parts that fit into a request and share no series with requests in flight.
    fn fill(
        &mut self,
        limits: RequestLimits,
        in_flight: &mut SeriesSet,
        abandoned: &mut u64,
    ) -> Vec<PendingPart> {
        let mut taken: Vec<PendingPart> = Vec::new();
        let mut blocked = SeriesSet::default();
        let mut remaining = VecDeque::new();
        let (mut series, mut bytes) = (0, 0);
        while let Some(queued) = self.queued.pop_front() {
            let part = &queued.pending.part;
            if queued.pending.reply.is_closed() {
                self.subtract(part);
                *abandoned += part.units;
                continue;
            }
            let has =
                |set: &SeriesSet| part.series_meta.iter().any(|meta| set.contains(&meta.hash));
            if has(in_flight) || (!blocked.is_empty() && has(&blocked)) {
                blocked.extend(part.series_meta.iter().map(|meta| meta.hash));
                remaining.push_back(queued);
                continue;
            }
            let is_suspect = queued.pending.before != Counts::default();
            (series, bytes) = (series + part.series_meta.len(), bytes + part.bytes.len());
            let is_full = series > limits.series || bytes > limits.bytes;
            if !taken.is_empty() && (is_full || is_suspect) {
                self.queued.push_front(queued);
                break;
            }
            in_flight.extend(part.series_meta.iter().map(|meta| meta.hash));
            self.subtract(part);
            taken.push(queued.pending);
            if is_suspect {
                break;
            }
        }
        remaining.append(&mut self.queued);
        self.queued = remaining;
        taken
    }

    fn sweep(&mut self, outcome_of: &mut impl FnMut(&PendingPart) -> Option<PartOutcome>) -> u64 {
        let mut units = 0;
        let mut remaining = VecDeque::with_capacity(self.queued.len());
        for queued in std::mem::take(&mut self.queued) {
            match outcome_of(&queued.pending) {
                None => remaining.push_back(queued),
                Some(outcome) => {
                    self.subtract(&queued.pending.part);
                    units += queued.pending.part.units;
                    // The receiver may be gone.
                    let _ = queued.pending.reply.send(outcome);
                }
            }
        }
        self.queued = remaining;
        units
    }

    /// Subtracts a part that leaves the group from its totals.
    fn subtract(&mut self, part: &RequestPart) {
        self.series -= part.series_meta.len();
        self.bytes -= part.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote_write::{
        RetryCause,
        part::{RequestPart, SeriesMeta},
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

    /// Part with series of ten bytes each, and the receiver of its outcome.
    fn pending(
        replica: Option<&str>,
        hashes: &[u64],
    ) -> (PendingPart, oneshot::Receiver<PartOutcome>) {
        let (reply, outcome) = oneshot::channel();
        let ha = replica.map(|replica| Ha {
            cluster: "c".to_owned(),
            replica: replica.to_owned(),
        });
        let meta = |(i, &hash): (usize, &u64)| SeriesMeta {
            hash,
            end: (i + 1) * 10,
            family: 0,
            resource: 0,
            start_ms: 0,
            counted: true,
        };
        let part = RequestPart {
            bytes: vec![0; hashes.len() * 10],
            series_meta: hashes.iter().enumerate().map(meta).collect(),
            ..Default::default()
        };
        let pending = PendingPart {
            part,
            before: Counts::default(),
            context: Arc::new(BatchContext {
                ha,
                ..Default::default()
            }),
            started: Instant::now(),
            deadline: Instant::now() + Duration::from_secs(10),
            reply,
            memory: Arc::new(ExportMemory::unlimited()),
        };
        (pending, outcome)
    }

    fn push(
        queue: &mut Queue,
        replica: Option<&str>,
        hashes: &[u64],
    ) -> oneshot::Receiver<PartOutcome> {
        let (pending, outcome) = pending(replica, hashes);
        queue.push(pending, Instant::now());
        outcome
    }

    /// Series of the next request.
    fn take(queue: &mut Queue) -> Option<Vec<u64>> {
        let pending = queue.take(Instant::now(), true)?;
        let series_meta = pending.iter().flat_map(|pending| &pending.part.series_meta);
        Some(series_meta.map(|meta| meta.hash).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn parts_linger_unless_a_request_is_full() {
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
    async fn a_pushed_sample_that_follows_its_series_does_not_linger() {
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut queue = queue(3);
        let _first = push(&mut queue, None, &[1]);
        let first = queue.take(Instant::now(), true).unwrap().remove(0);
        queue.complete(&first, Instant::now());
        let _second = push(&mut queue, None, &[1]);
        let second = queue.take(Instant::now(), false).unwrap().remove(0);
        queue.complete(&second, Instant::now());
        let _other = push(&mut queue, None, &[2]);
        assert!(queue.take(Instant::now(), false).is_none());
        tokio::time::advance(FOLLOWS_WITHIN).await;
        assert!(queue.take(Instant::now(), false).is_some());
        let _later = push(&mut queue, None, &[1]);
        assert!(queue.take(Instant::now(), false).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn limits_a_request_except_for_its_first_part() {
        let mut queue = queue(3);
        let _replies: Vec<_> = [&[1, 2][..], &[3, 4], &[5, 6, 7, 8, 9]]
            .map(|hashes| push(&mut queue, None, hashes))
            .into();
        assert_eq!(take(&mut queue), Some(vec![1, 2]));
        assert_eq!(take(&mut queue), Some(vec![3, 4]));
        assert_eq!(take(&mut queue), Some(vec![5, 6, 7, 8, 9]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_waits_for_earlier_samples_of_its_series() {
        let mut queue = queue(100);
        let _first = push(&mut queue, None, &[1, 2]);
        let complete = queue.take(Instant::now(), true).unwrap().remove(0);
        // Series 2 is in flight. Series 3 is not, but its sample must follow the one in
        // the part with series 2.
        let _rest = [&[2, 3][..], &[3, 4], &[5]].map(|hashes| push(&mut queue, None, hashes));
        assert_eq!(take(&mut queue), Some(vec![5]));
        assert_eq!(take(&mut queue), None);
        queue.complete(&complete, Instant::now());
        assert_eq!(take(&mut queue), Some(vec![2, 3]));
        assert_eq!(take(&mut queue), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_parts_of_one_ha_pair() {
        let mut queue = queue(100);
        let _a = push(&mut queue, Some("a"), &[1]);
        tokio::time::advance(Duration::from_millis(1)).await;
        let _rest =
            [("b", 2), ("a", 3)].map(|(replica, hash)| push(&mut queue, Some(replica), &[hash]));
        assert_eq!(take(&mut queue), Some(vec![1, 3]));
        assert_eq!(take(&mut queue), Some(vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_was_refused_before_travels_alone() {
        let mut queue = queue(100);
        let _first = push(&mut queue, None, &[1]);
        let (mut suspect, _outcome) = pending(None, &[2, 3]);
        suspect.before = Counts {
            decided: 5,
            refused: 1,
        };
        queue.push(suspect, Instant::now());
        let _rest = [4, 3].map(|hash| push(&mut queue, None, &[hash]));
        assert_eq!(take(&mut queue), Some(vec![1]));
        assert_eq!(take(&mut queue), Some(vec![2, 3]));
        // The part behind the suspect waits for it.
        assert_eq!(take(&mut queue), Some(vec![4]));
        assert_eq!(take(&mut queue), None);
    }

    #[tokio::test(start_paused = true)]
    async fn skips_parts_whose_sender_has_disconnected() {
        let mut queue = queue(100);
        let (mut outcome_of, outcome) = pending(None, &[1, 2]);
        outcome_of.part.units = 2;
        queue.push(outcome_of, Instant::now());
        let _there = push(&mut queue, None, &[2, 3]);
        drop(outcome);
        assert_eq!(take(&mut queue), Some(vec![2, 3]));
        assert!(queue.is_empty());
        assert_eq!((queue.sweep(|_| None), queue.sweep(|_| None)), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn returns_followers_of_a_failed_part() {
        let mut queue = queue(100);
        let (failed, _) = pending(None, &[1, 2]);
        let (mut follower, mut other) = (
            push(&mut queue, None, &[2, 3]),
            push(&mut queue, None, &[4]),
        );
        let retry = Retry {
            cause: RetryCause::Unavailable,
            after: Duration::ZERO,
            settled: false,
            slow: false,
            message: String::new(),
        };
        queue.return_followers([&failed.part].into_iter(), &retry);
        // The follower was never sent, so its retry is settled.
        let outcome = follower.try_recv().unwrap();
        assert_eq!(
            outcome,
            PartOutcome::Retry(Retry {
                settled: true,
                ..retry
            })
        );
        assert!(other.try_recv().is_err());
        assert_eq!(take(&mut queue), Some(vec![4]));
    }
}
