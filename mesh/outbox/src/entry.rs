//! A pending batch.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use mesh_contract::{
    batch::{Batch, BatchContext},
    export::Progress,
    progress::hash,
    report::MAX_DESTINATIONS,
    verdict::Verdict,
};

use crate::{
    outcome::{Expiry, Outcome},
    packed::Packed,
    spill::{Location, Record},
    waiters::Waiters,
    weight::Weight,
};

/// A pending batch. It is in one lane for each destination that has not completed it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Sequence number among all batches, in the order of the pushes.
    pub(crate) seq: u64,
    pub(crate) key: u64,
    pub(crate) samples: u64,
    pub(crate) time_ms: i64,
    pub(crate) context: Arc<BatchContext>,
    pub(crate) body: Body,
    /// Bytes of the payload in a request.
    pub(crate) raw_bytes: usize,
    /// Time when the batch entered this outbox.
    pub(crate) since: Instant,
    /// Set while the spiller writes the batch to the disk.
    pub(crate) is_being_spilled: bool,
    /// Routes whose lanes have the batch.
    pub(crate) routes: RouteSet,
    /// Verdict of the destination that stored least, of those that have completed the batch.
    pub(crate) verdict: Verdict,
    /// Set if the batch has expired at a destination.
    pub(crate) expiry: Option<Expiry>,
    /// Set if the batch has expired at a destination that the caller waits for.
    failure: Option<Expiry>,
    /// Destinations that have completed the batch while others have not, for the log.
    pub(crate) completed: Vec<Arc<str>>,
    /// Destinations that had completed the batch when an earlier process ended.
    pub(crate) progress: Progress,
    outcome: Option<oneshot::Sender<Outcome>>,
    /// Set if the batch is withdrawn once nobody waits for its outcome.
    waiters: Option<Waiters>,
}

/// Set of route numbers below [`RouteSet::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteSet(u64);

/// Payload of a batch, in memory or on the disk.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// In memory.
    InMemory(Packed),
    /// On the disk.
    OnDisk(Location),
}

// === impl Entry ===

impl Entry {
    /// Creates the entry of a batch that was just pushed.
    pub(crate) fn new(
        seq: u64,
        batch: Batch,
        outcome: Option<oneshot::Sender<Outcome>>,
        waiters: Option<Waiters>,
    ) -> Self {
        Self {
            seq,
            key: batch.key,
            samples: batch.samples,
            time_ms: batch.time_ms,
            context: batch.context,
            raw_bytes: batch.payload.len(),
            body: Body::InMemory(Packed::raw(batch.payload)),
            since: Instant::now(),
            is_being_spilled: false,
            routes: RouteSet::default(),
            verdict: Verdict::default(),
            expiry: None,
            failure: None,
            completed: Vec::new(),
            progress: Progress::default(),
            outcome,
            waiters,
        }
    }

    /// Creates the entry of a batch that an earlier process spilled.
    pub(crate) fn replayed(location: Location, record: Record, progress: Progress) -> Self {
        Self {
            seq: record.seq,
            key: record.key,
            samples: record.samples,
            time_ms: record.time_ms,
            context: record.context,
            raw_bytes: record.payload.raw_bytes(),
            body: Body::OnDisk(location),
            since: Instant::now(),
            is_being_spilled: false,
            routes: RouteSet::default(),
            verdict: Verdict::default(),
            expiry: None,
            failure: None,
            completed: Vec::new(),
            progress,
            outcome: None,
            waiters: None,
        }
    }

    /// Returns true if a caller waits for the outcome. Such a batch is never spilled: it
    /// has not been acknowledged, so its sender still has it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.outcome.is_some()
    }

    /// Returns true if the last waiter of the batch was dropped.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.waiters.as_ref().is_some_and(Waiters::is_empty)
    }

    /// Returns the record to spill; `None` if the batch is on the disk or never spilled.
    pub(crate) fn record(&self) -> Option<Record> {
        let Body::InMemory(payload) = &self.body else {
            return None;
        };
        (!self.is_awaited()).then(|| Record {
            seq: self.seq,
            key: self.key,
            samples: self.samples,
            time_ms: self.time_ms,
            context: self.context.clone(),
            completed: self.completed.iter().map(|name| hash(name)).collect(),
            payload: payload.clone(),
        })
    }

    pub(crate) fn age_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms.saturating_sub(self.time_ms)).unwrap_or(0)
    }

    pub(crate) fn weight(&self) -> Weight {
        match &self.body {
            Body::InMemory(packed) => Weight {
                samples: self.samples,
                bytes: packed.bytes().len(),
                spilled: 0,
            },
            Body::OnDisk(_) => Weight {
                samples: self.samples,
                bytes: size_of::<Self>(),
                spilled: self.samples,
            },
        }
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.body, Body::InMemory(_))
    }

    /// Returns true if the next process would replay this batch unless it is recorded as
    /// done.
    pub(crate) fn would_be_replayed(&self) -> bool {
        self.is_being_spilled || !self.is_in_memory()
    }

    /// Merges the verdict of another destination. The one that stored least wins.
    pub(crate) fn merge(&mut self, verdict: Verdict) {
        if verdict.not_stored() >= self.verdict.not_stored() {
            self.verdict = verdict;
        }
    }

    /// Records that the batch has expired at a destination. `is_required` is set if the caller
    /// waits for that one.
    pub(crate) fn expire(&mut self, expiry: Expiry, is_required: bool) {
        self.expiry.get_or_insert(expiry);
        if is_required {
            self.failure.get_or_insert(expiry);
        }
    }

    /// Sends the outcome to the caller that waits for it, if any. From then on, the batch is
    /// not withdrawn and may be spilled.
    pub(crate) fn send_outcome(&mut self) {
        let outcome = match self.failure {
            // The other destinations have answered.
            None | Some(Expiry::DestinationRemoved) => Outcome::Verdict(self.verdict.clone()),
            Some(expiry) => Outcome::Expired(expiry),
        };
        self.waiters = None;
        if let Some(sender) = self.outcome.take() {
            // The caller may have gone away; the account has the outcome anyway.
            let _ = sender.send(outcome);
        }
    }
}

// === impl RouteSet ===

impl RouteSet {
    /// Maximum number of routes: one for each destination, and one for all at once.
    pub(crate) const MAX: usize = MAX_DESTINATIONS + 1;

    pub(crate) fn insert(&mut self, route: usize) {
        self.0 |= 1 << route;
    }

    pub(crate) fn remove(&mut self, route: usize) {
        self.0 &= !(1 << route);
    }

    pub(crate) fn contains(self, route: usize) -> bool {
        self.0 & (1 << route) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |route| self.contains(*route))
    }
}
