//! A pending batch in a lane.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use mesh_contract::batch::{Batch, BatchContext};

use crate::{
    outcome::Outcome,
    packed::Packed,
    spill::{Location, Record},
    waiters::Waiters,
    weight::Weight,
};

/// A pending batch in a lane.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Sequence number among all batches. It increases within a lane.
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
    outcome: Option<oneshot::Sender<Outcome>>,
    /// Set if the batch is withdrawn once nobody waits for its outcome.
    waiters: Option<Waiters>,
}

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
            outcome,
            waiters,
        }
    }

    /// Creates the entry of a batch that an earlier process spilled.
    pub(crate) fn replayed(location: Location, record: Record) -> Self {
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

    /// Sends the outcome to the caller that waits for it, if any.
    pub(crate) fn send_outcome(self, outcome: Outcome) {
        if let Some(sender) = self.outcome {
            // The caller may have gone away; the account has the outcome anyway.
            let _ = sender.send(outcome);
        }
    }
}
