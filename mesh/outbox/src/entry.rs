//! A batch that waits in a lane.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use super::{
    Interest, Outcome,
    packed::Packed,
    spill::{Place, Record},
};
use mesh_contract::batch::{Batch, BatchContext};

/// A batch that waits in a lane.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number among all batches; in a lane they go up.
    pub(super) seq: u64,
    pub(super) key: u64,
    pub(super) samples: u64,
    pub(super) time_ms: i64,
    pub(super) context: Arc<BatchContext>,
    pub(super) body: Body,
    /// Bytes of its payload in a request.
    pub(super) raw_bytes: usize,
    /// Since when it has waited here.
    pub(super) since: Instant,
    /// The spiller is writing it to the disk.
    pub(super) is_being_spilled: bool,
    tell: Option<oneshot::Sender<Outcome>>,
    /// Who waits, where it is not delivered for anybody else.
    interest: Option<Interest>,
}

/// Where the payload of a batch is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// In memory.
    InMemory(Packed),
    /// On the disk.
    OnDisk(Place),
}

/// What entries come to, for the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) samples: u64,
    /// Bytes of memory.
    pub(super) bytes: usize,
    /// How many of the samples are on the disk.
    pub(super) spilled: u64,
}

// === impl Entry ===

impl Entry {
    /// A batch that is taken now.
    pub(super) fn new(
        seq: u64,
        batch: Batch,
        tell: Option<oneshot::Sender<Outcome>>,
        interest: Option<Interest>,
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
            tell,
            interest,
        }
    }

    /// A batch that an earlier process has left at `place`.
    pub(super) fn replayed(place: Place, record: Record) -> Self {
        Self {
            seq: record.seq,
            key: record.key,
            samples: record.samples,
            time_ms: record.time_ms,
            context: record.context,
            raw_bytes: record.payload.raw_bytes(),
            body: Body::OnDisk(place),
            since: Instant::now(),
            is_being_spilled: false,
            tell: None,
            interest: None,
        }
    }

    /// Whether somebody waits for what becomes of it. Such a batch is never
    /// spilled: it has not been acknowledged, so its sender has it.
    pub(super) fn is_awaited(&self) -> bool {
        self.tell.is_some()
    }

    /// Whether everybody has left for whom it was to be delivered.
    pub(super) fn is_given_up(&self) -> bool {
        self.interest.as_ref().is_some_and(Interest::is_gone)
    }

    /// The record to spill; none where it is spilled or is never to be.
    pub(super) fn record(&self) -> Option<Record> {
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

    pub(super) fn age_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms.saturating_sub(self.time_ms)).unwrap_or(0)
    }

    pub(super) fn weight(&self) -> Weight {
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

    pub(super) fn is_held(&self) -> bool {
        matches!(self.body, Body::InMemory(_))
    }

    /// Whether the next process would find it as long as it is not noted as done.
    pub(super) fn would_be_found(&self) -> bool {
        self.is_being_spilled || !self.is_held()
    }

    pub(super) fn tell(self, outcome: Outcome) {
        if let Some(tell) = self.tell {
            // Who waited may have gone; the account has it all the same.
            let _ = tell.send(outcome);
        }
    }
}

// === impl Weight ===

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), |a, b| Self {
            samples: a.samples + b.samples,
            bytes: a.bytes + b.bytes,
            spilled: a.spilled + b.spilled,
        })
    }
}
