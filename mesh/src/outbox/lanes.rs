//! The lanes: batches that wait, in order, within their bounds.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::{Account, Closed, Expiry, OutboxArgs, Outcome};
use crate::{batch::Batch, clock::Clock, verdict::Verdict};

/// All lanes of an outbox.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    /// One a lane: something was pushed, or the outbox was closed.
    changed: Vec<Notify>,
    clock: Clock,
    max_bytes: usize,
    max_request_bytes: usize,
    max_age: Duration,
}

/// What one worker has taken from its lane and not yet settled.
#[derive(Debug)]
pub(super) struct Taken(Vec<Entry>);

#[derive(Debug)]
struct State {
    waiting: Vec<VecDeque<Entry>>,
    account: Account,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    batch: Batch,
    tell: Option<oneshot::Sender<Outcome>>,
}

// === impl Lanes ===

impl Lanes {
    pub(super) fn new(args: &OutboxArgs, clock: Clock) -> Self {
        let lanes = usize::from(args.lanes.max(1));
        Self {
            state: Mutex::new(State {
                waiting: (0..lanes).map(|_| VecDeque::new()).collect(),
                account: Account::default(),
                closed: false,
            }),
            changed: (0..lanes).map(|_| Notify::new()).collect(),
            clock,
            max_bytes: args.max_bytes,
            max_request_bytes: args.max_request_bytes,
            max_age: args.max_age(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.changed.len()
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn account(&self) -> Account {
        self.state().account.clone()
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.state().fits(bytes, self.max_bytes)
    }

    pub(super) fn push(
        &self,
        batch: Batch,
        tell: Option<oneshot::Sender<Outcome>>,
    ) -> Result<(), Closed> {
        let lane = (batch.key % self.len() as u64) as usize;
        let mut state = self.state();
        if state.closed {
            return Err(Closed);
        }
        let entry = Entry { batch, tell };
        state.account.push(entry.batch.samples, entry.bytes());
        // The new batch is in the account already: make room for nothing more.
        while !state.fits(0, self.max_bytes) {
            match state.pop_oldest() {
                Some(oldest) => state.expire(oldest, Expiry::OutboxFull),
                None => {
                    state.expire(entry, Expiry::OutboxFull);
                    return Ok(());
                }
            }
        }
        state.waiting[lane].push_back(entry);
        drop(state);
        self.changed[lane].notify_one();
        Ok(())
    }

    /// Waits for the next heads of `lane`; `None` once it is closed and empty.
    pub(super) async fn take(&self, lane: usize) -> Option<Taken> {
        loop {
            let changed = self.changed[lane].notified();
            {
                let mut state = self.state();
                let heads = self.heads(&mut state, lane);
                if !heads.is_empty() {
                    return Some(Taken(heads));
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Expires what has become too old while it was being delivered; false where
    /// nothing is left.
    pub(super) fn keep_young(&self, taken: &mut Taken) -> bool {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        for entry in taken
            .0
            .extract_if(.., |e| e.batch.age(now_ms) > self.max_age)
        {
            state.expire(entry, Expiry::TooOld);
        }
        !taken.0.is_empty()
    }

    /// Books what became of the batches and tells who waits for it.
    pub(super) fn settle(&self, taken: Taken, verdict: &Verdict) {
        let (samples, bytes) = (taken.samples(), taken.bytes());
        self.state().account.judge(verdict, samples, bytes);
        for entry in taken.0 {
            entry.tell(Outcome::Judged(verdict.clone()));
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        for changed in &self.changed {
            changed.notify_one();
        }
    }

    /// The first batches of a lane that may travel together: one a key, of the
    /// same facts, up to a size.
    fn heads(&self, state: &mut State, lane: usize) -> Vec<Entry> {
        let now_ms = self.clock.now_ms();
        let mut heads: Vec<Entry> = Vec::new();
        let mut keys = HashSet::new();
        let mut bytes = 0;
        while let Some(entry) = state.waiting[lane].pop_front() {
            if entry.batch.age(now_ms) > self.max_age {
                state.expire(entry, Expiry::TooOld);
                continue;
            }
            let joins = match heads.first() {
                None => true,
                Some(first) => {
                    first.tell.is_none()
                        && entry.tell.is_none()
                        && first.batch.facts == entry.batch.facts
                        && bytes + entry.bytes() <= self.max_request_bytes
                }
            };
            if !joins || !keys.insert(entry.batch.key) {
                state.waiting[lane].push_front(entry);
                break;
            }
            bytes += entry.bytes();
            heads.push(entry);
        }
        heads
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn fits(&self, bytes: usize, max_bytes: usize) -> bool {
        self.account.waiting_bytes as usize + bytes <= max_bytes
    }

    fn pop_oldest(&mut self) -> Option<Entry> {
        self.waiting
            .iter_mut()
            .filter(|lane| !lane.is_empty())
            .min_by_key(|lane| lane[0].batch.time_ms)?
            .pop_front()
    }

    fn expire(&mut self, entry: Entry, why: Expiry) {
        self.account.expire(why, entry.batch.samples, entry.bytes());
        entry.tell(Outcome::Expired(why));
    }
}

// === impl Taken ===

impl Taken {
    pub(super) fn samples(&self) -> u64 {
        self.0.iter().map(|e| e.batch.samples).sum()
    }

    /// The request: the batches' payloads joined end to end.
    pub(super) fn payload(&self) -> Bytes {
        match &self.0[..] {
            [only] => only.batch.payload.clone(),
            many => many
                .iter()
                .flat_map(|e| e.batch.payload.iter().copied())
                .collect(),
        }
    }

    pub(super) fn first(&self) -> &Batch {
        &self.0[0].batch
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(Entry::bytes).sum()
    }
}

// === impl Entry ===

impl Entry {
    fn bytes(&self) -> usize {
        self.batch.payload.len()
    }

    fn tell(self, outcome: Outcome) {
        if let Some(tell) = self.tell {
            // Who waited may have gone; the account has it all the same.
            let _ = tell.send(outcome);
        }
    }
}
