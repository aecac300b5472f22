//! The lanes: pending batches, in order and within their limits.

mod hold_back;
mod spill_queue;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use mesh_base::clock::Clock;
use mesh_contract::{batch::Batch, verdict::Verdict};

use crate::{
    account::{Account, AccountSource},
    args::OutboxArgs,
    entry::{Body, Entry},
    hold_backs::{HeldBackTotals, HoldBacks},
    lane::Lane,
    outcome::{Expiry, OutboxClosed, Outcome},
    request::{self, Request},
    spill::{Disk, Location, SpillError, SpillStats},
    waiters::{Waiters, Withdraw},
};

/// All lanes of an outbox.
#[derive(Debug)]
pub(crate) struct Lanes {
    state: Mutex<State>,
    /// Wakes the worker of each lane.
    lane_wakeups: Vec<Notify>,
    spiller_wakeup: Notify,
    /// The disk of spilled batches, once it is open.
    pub(crate) disk: OnceLock<Arc<dyn Disk>>,
    pub(crate) spill_stats: Arc<SpillStats>,
    pub(crate) clock: Clock,
    max_bytes: usize,
    max_request_bytes: usize,
    max_age_ms: u64,
    linger: Duration,
    /// Time after which a pending batch is spilled; `None` without a spill directory.
    spill_after: Option<Duration>,
    /// Set if other processes may have batches of the same keys.
    shares_keys: bool,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    hold_backs: HoldBacks,
    account: Account,
    next_seq: u64,
    /// Set once the outbox accepts no more batches.
    is_closed: bool,
    /// Set while the batches of an earlier process are read from disk. They go first.
    is_replaying: bool,
    /// Keys of the replayed batches, each with the time of its oldest batch. These keys are
    /// held back.
    replayed: Option<HashMap<u64, i64>>,
    /// Set once the workers have stopped. The spiller then spills all pending batches.
    is_delivery_stopped: bool,
    /// Spilled batches that are done, for the spiller to record in the log.
    done: Vec<(u64, Location)>,
    /// Timeout of the current Export of each lane.
    export_timeouts: Vec<Duration>,
}

/// Next step of a lane's worker.
enum Next {
    Dispatched,
    Wait,
    WaitUntil(Instant),
    End,
}

/// Delay before a spilled batch is read again after a temporary failure.
const READ_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum time that a lane waits until done batches are recorded on disk. A disk that
/// hangs must not stop batches in memory.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

// === impl Lanes ===

impl Lanes {
    /// Creates lanes whose keys other processes may have batches of.
    pub(crate) fn sharing_keys(args: &OutboxArgs, clock: Clock) -> Self {
        Self {
            shares_keys: true,
            ..Self::new(args, clock)
        }
    }

    pub(crate) fn new(args: &OutboxArgs, clock: Clock) -> Self {
        let lanes = usize::from(args.lanes.max(1));
        let max_age_ms = args.max_age.as_millis() as u64;
        Self {
            state: Mutex::new(State {
                lanes: (0..lanes).map(|_| Lane::default()).collect(),
                hold_backs: HoldBacks::new(max_age_ms),
                account: Account::default(),
                next_seq: 0,
                is_closed: false,
                is_replaying: args.spill.spill_dir.is_some(),
                replayed: None,
                is_delivery_stopped: false,
                done: Vec::new(),
                export_timeouts: vec![Duration::ZERO; lanes],
            }),
            lane_wakeups: (0..lanes).map(|_| Notify::new()).collect(),
            spiller_wakeup: Notify::new(),
            disk: OnceLock::new(),
            spill_stats: Arc::default(),
            clock,
            max_bytes: args.max_bytes.in_memory(),
            max_request_bytes: args.max_request_bytes.in_memory(),
            max_age_ms,
            linger: args.linger,
            spill_after: args
                .spill
                .spill_dir
                .as_ref()
                .map(|_| args.spill.spill_after),
            shares_keys: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lane_wakeups.len()
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.state.lock().fits(bytes, self.max_bytes)
    }

    pub(crate) fn push(
        &self,
        batch: Batch,
        outcome: Option<oneshot::Sender<Outcome>>,
        waiters: Option<Waiters>,
    ) -> Result<(), OutboxClosed> {
        let lane = self.lane_of(batch.key);
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(OutboxClosed);
        }
        let entry = Entry::new(state.next_seq, batch, outcome, waiters);
        state.next_seq += 1;
        state.account.record_push(entry.weight());
        // The account includes the new batch already, so no more bytes must fit.
        while !state.fits(0, self.max_bytes) {
            match state.pop_oldest() {
                Some(oldest) => state.expire(oldest, Expiry::OutboxFull),
                None => {
                    state.expire(entry, Expiry::OutboxFull);
                    return Ok(());
                }
            }
        }
        let must_wake = state.lanes[lane].push(entry, self.linger);
        drop(state);
        if must_wake {
            self.wake_lane(lane);
        }
        if self.spills_at_once() {
            self.spiller_wakeup.notify_one();
        }
        Ok(())
    }

    /// Waits until `lane` has a batch to send, and puts the first ones in flight. Returns
    /// false once the lane is closed and empty.
    pub(crate) async fn dispatch(&self, lane: usize) -> bool {
        loop {
            let wakeup = self.lane_wakeups[lane].notified();
            let next = self.next(lane);
            match next {
                Next::End => return false,
                Next::Dispatched => return true,
                Next::Wait => wakeup.await,
                Next::WaitUntil(until) => {
                    let _ = timeout_at(until, wakeup).await;
                }
            }
        }
    }

    fn next(&self, lane: usize) -> Next {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.lock();
        let State {
            lanes,
            hold_backs,
            is_closed,
            is_replaying,
            ..
        } = &mut *state;
        let lane = &mut lanes[lane];
        let ack_timeout = lane.unacked_since().map(|since| since + ACK_TIMEOUT);
        let lingers_until = lane.linger(self.linger, *is_closed);
        match lane.fence.max(ack_timeout).max(lingers_until) {
            _ if *is_replaying => Next::Wait,
            _ if lane.is_empty() && *is_closed => Next::End,
            Some(until) if !lane.is_empty() && Instant::now() < until => Next::WaitUntil(until),
            _ if lane.dispatch(self.max_request_bytes, hold_backs, now_ms) => Next::Dispatched,
            _ => Next::Wait,
        }
    }

    /// Builds the request of the batches in flight in `lane`. Batches that have become too
    /// old expire first, and batches without waiters are withdrawn: between two attempts no
    /// Export of them is running. Returns `None` if no batch remains.
    pub(crate) async fn request(&self, lane: usize) -> Option<Request> {
        loop {
            self.expire_old(lane);
            self.extract(lane, Expiry::Withdrawn, Entry::is_withdrawn);
            let bodies: Vec<_> = {
                let state = self.state.lock();
                let entries = state.lanes[lane].in_flight();
                entries.map(|e| (e.seq, e.body.clone())).collect()
            };
            let failed = match request::payload(bodies, self.disk.get().cloned()).await {
                Ok(payload) => return self.with_payload(lane, payload),
                Err(failed) => failed,
            };
            warn!(lane, seq = failed.seq, error = %failed.error, "Reading a spilled batch failed");
            self.spill_stats.count(SpillError::Read);
            if failed.is_permanent() {
                self.extract(lane, Expiry::Unreadable, |entry| entry.seq == failed.seq);
            } else {
                sleep(READ_RETRY_DELAY).await;
            }
        }
    }

    fn with_payload(&self, lane: usize, payload: bytes::Bytes) -> Option<Request> {
        let state = self.state.lock();
        let lane = &state.lanes[lane];
        let context = lane.in_flight().next()?.context.clone();
        Some(Request {
            context,
            payload,
            samples: lane.in_flight().map(|entry| entry.samples).sum(),
        })
    }

    fn expire_old(&self, lane: usize) {
        let now_ms = self.clock.now_ms();
        let is_too_old = |entry: &Entry| entry.age_ms(now_ms) > self.max_age_ms;
        self.extract(lane, Expiry::TooOld, is_too_old);
    }

    fn extract(&self, lane: usize, expiry: Expiry, matches: impl Fn(&Entry) -> bool) {
        let mut state = self.state.lock();
        for entry in state.lanes[lane].extract_in_flight(matches) {
            state.expire(entry, expiry);
        }
        self.wake_spiller(&state);
    }

    /// Records the verdict on the batches in flight and sends it to their waiters.
    pub(crate) fn complete(&self, lane: usize, verdict: &Verdict) {
        let entries = {
            let mut state = self.state.lock();
            let entries = state.lanes[lane].complete();
            let weight = entries.iter().map(Entry::weight).sum();
            state.account.record_verdict(verdict, weight);
            state.record_done(&entries);
            self.wake_spiller(&state);
            entries
        };
        for entry in entries {
            entry.send_outcome(Outcome::Verdict(verdict.clone()));
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.wake_all_lanes();
    }

    pub(crate) fn lane_of(&self, key: u64) -> usize {
        (key % self.len() as u64) as usize
    }

    fn wake_lane(&self, lane: usize) {
        self.lane_wakeups[lane].notify_one();
    }

    fn wake_all_lanes(&self) {
        for wakeup in &self.lane_wakeups {
            wakeup.notify_one();
        }
    }

    fn wake_spiller(&self, state: &State) {
        if !state.done.is_empty() {
            self.spiller_wakeup.notify_one();
        }
    }
}

impl AccountSource for Lanes {
    fn account(&self) -> Account {
        self.state.lock().account.clone()
    }

    fn held_back(&self) -> HeldBackTotals {
        let now_ms = self.clock.now_ms();
        let state = self.state.lock();
        let entries = state.lanes.iter().flat_map(Lane::iter);
        state.hold_backs.totals(entries, now_ms)
    }

    fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn spill_stats(&self) -> &SpillStats {
        &self.spill_stats
    }
}

impl Withdraw for Lanes {
    fn withdraw(&self, lane: usize) {
        let mut state = self.state.lock();
        let withdrawn = state.lanes[lane].extract_queued(Entry::is_withdrawn);
        if withdrawn.is_empty() {
            return;
        }
        for entry in withdrawn {
            state.expire(entry, Expiry::Withdrawn);
        }
        drop(state);
        // The worker ends if the lane is closed and now empty.
        self.wake_lane(lane);
    }
}

// === impl State ===

impl State {
    fn fits(&self, bytes: usize, max_bytes: usize) -> bool {
        self.account.waiting_bytes as usize + bytes <= max_bytes
    }

    /// Removes the oldest batch that is in memory and not in flight.
    fn pop_oldest(&mut self) -> Option<Entry> {
        let lanes = self.lanes.iter().enumerate();
        let oldest = lanes.filter_map(|(lane, entries)| {
            let (index, entry) = entries.oldest_in_memory()?;
            Some((entry.time_ms, lane, index))
        });
        let (_, lane, index) = oldest.min()?;
        self.lanes[lane].remove(index)
    }

    fn expire(&mut self, entry: Entry, expiry: Expiry) {
        self.account.record_expiry(expiry, entry.weight());
        self.record_done(std::slice::from_ref(&entry));
        entry.send_outcome(Outcome::Expired(expiry));
    }

    fn record_done(&mut self, entries: &[Entry]) {
        let locations = entries.iter().filter_map(|entry| match entry.body {
            Body::OnDisk(location) => Some((entry.seq, location)),
            Body::InMemory(_) => None,
        });
        self.done.extend(locations);
    }
}
