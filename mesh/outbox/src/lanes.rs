//! The lanes: batches that wait, in order, within their bounds.

mod holding;
mod spilling;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use super::{
    Account, Closed, Expiry, Interest, OutboxArgs, Outcome,
    entry::{Body, Entry},
    holds::Holds,
    lane::Lane,
    request::{self, Request},
    spill::{Disk, Place, Stats, Trouble},
};
use mesh_base::clock::Clock;
use mesh_contract::{batch::Batch, verdict::Verdict};

/// All lanes of an outbox.
#[derive(Debug)]
pub(super) struct Lanes {
    state: Mutex<State>,
    /// One a lane: something was pushed, or the outbox was closed.
    changed: Vec<Notify>,
    /// Something is for the spiller to do.
    to_keep: Notify,
    /// Where spilled batches are.
    pub(super) disk: OnceLock<Arc<dyn Disk>>,
    pub(super) stats: Arc<Stats>,
    pub(super) clock: Clock,
    max_bytes: usize,
    max_request_bytes: usize,
    max_age_ms: u64,
    linger: Duration,
    /// How long batches wait before they are spilled, where there is a directory.
    spill_after: Option<Duration>,
    /// Other processes may have batches of the same keys.
    shares_keys: bool,
}

#[derive(Debug)]
struct State {
    lanes: Vec<Lane>,
    holds: Holds,
    account: Account,
    next_seq: u64,
    /// Nothing is taken any more.
    closed: bool,
    /// What an earlier process has left is being read: it goes first.
    replaying: bool,
    /// The times of the oldest batches of it by their keys, which are held back.
    left: Option<HashMap<u64, i64>>,
    /// Nothing is delivered any more: what waits is to be spilled.
    abandoned: bool,
    /// Spilled batches that are done with, for the spiller to note.
    done: Vec<(u64, Place)>,
    /// How long each lane's Export may be under way.
    spans: Vec<Duration>,
}

/// What a lane's worker does next.
enum Next {
    Departed,
    Wait,
    WaitUntil(Instant),
    End,
}

/// How long to wait where the disk does not answer but may do so later.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// How long a lane waits for the disk to know what is done with: one that hangs must
/// not keep back what is in memory.
const NOTING_TIME: Duration = Duration::from_secs(5);

// === impl Lanes ===

impl Lanes {
    /// Lanes whose keys other processes may have too.
    pub(super) fn sharing_keys(args: &OutboxArgs, clock: Clock) -> Self {
        Self {
            shares_keys: true,
            ..Self::new(args, clock)
        }
    }

    pub(super) fn new(args: &OutboxArgs, clock: Clock) -> Self {
        let lanes = usize::from(args.lanes.max(1));
        let max_age_ms = args.max_age().as_millis() as u64;
        Self {
            state: Mutex::new(State {
                lanes: (0..lanes).map(|_| Lane::default()).collect(),
                holds: Holds::new(max_age_ms),
                account: Account::default(),
                next_seq: 0,
                closed: false,
                replaying: args.spill.spill_dir.is_some(),
                left: None,
                abandoned: false,
                done: Vec::new(),
                spans: vec![Duration::ZERO; lanes],
            }),
            changed: (0..lanes).map(|_| Notify::new()).collect(),
            to_keep: Notify::new(),
            disk: OnceLock::new(),
            stats: Arc::default(),
            clock,
            max_bytes: args.max_bytes,
            max_request_bytes: args.max_request_bytes,
            max_age_ms,
            linger: Duration::from_millis(args.linger_ms),
            spill_after: args.spill.spill_dir.as_ref().map(|_| args.spill.after()),
            shares_keys: false,
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
        interest: Option<Interest>,
    ) -> Result<(), Closed> {
        let lane = self.lane_of(batch.key);
        let mut state = self.state();
        if state.closed {
            return Err(Closed);
        }
        let entry = Entry::new(state.next_seq, batch, tell, interest);
        state.next_seq += 1;
        state.account.push(entry.weight());
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
        let wakes = state.lanes[lane].push(entry, self.linger);
        drop(state);
        if wakes {
            self.changed[lane].notify_one();
        }
        if self.spills_at_once() {
            self.to_keep.notify_one();
        }
        Ok(())
    }

    /// Takes out of `lane` what nobody waits for any more, but for what is in flight.
    pub(super) fn withdraw(&self, lane: usize) {
        let mut state = self.state();
        let given_up = state.lanes[lane].extract_waiting(Entry::is_given_up);
        if given_up.is_empty() {
            return;
        }
        for entry in given_up {
            state.expire(entry, Expiry::Withdrawn);
        }
        drop(state);
        // A closed lane may be empty now.
        self.changed[lane].notify_one();
    }

    /// Takes the next heads of `lane` into flight once there are any; false once
    /// it is closed and empty.
    pub(super) async fn dispatch(&self, lane: usize) -> bool {
        loop {
            let changed = self.changed[lane].notified();
            let next = self.next(lane);
            match next {
                Next::End => return false,
                Next::Departed => return true,
                Next::Wait => changed.await,
                Next::WaitUntil(until) => {
                    let _ = timeout_at(until, changed).await;
                }
            }
        }
    }

    fn next(&self, lane: usize) -> Next {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let State {
            lanes,
            holds,
            closed,
            replaying,
            ..
        } = &mut *state;
        let lane = &mut lanes[lane];
        let noting = lane.unnoted_since().map(|since| since + NOTING_TIME);
        let lingering = lane.linger(self.linger, *closed);
        match lane.fence.max(noting).max(lingering) {
            _ if *replaying => Next::Wait,
            _ if lane.is_empty() && *closed => Next::End,
            Some(until) if !lane.is_empty() && Instant::now() < until => Next::WaitUntil(until),
            _ if lane.dispatch(self.max_request_bytes, holds, now_ms) => Next::Departed,
            _ => Next::Wait,
        }
    }

    /// The request that is in flight in `lane`, with its payload in memory. What
    /// has become too old in the meantime expires, and what nobody waits for any more
    /// is withdrawn, as none of it is under way now; `None` where nothing is left.
    pub(super) async fn request(&self, lane: usize) -> Option<Request> {
        loop {
            self.expire_old(lane);
            self.extract(lane, Expiry::Withdrawn, Entry::is_given_up);
            let bodies: Vec<_> = {
                let state = self.state();
                let entries = state.lanes[lane].in_flight();
                entries.map(|e| (e.seq, e.body.clone())).collect()
            };
            let failed = match request::payload(bodies, self.disk.get().cloned()).await {
                Ok(payload) => return self.with_payload(lane, payload),
                Err(failed) => failed,
            };
            warn!(lane, error = %failed.error, "Spilled batch not read");
            self.stats.count(Trouble::Read);
            if failed.is_final() {
                self.extract(lane, Expiry::Unreadable, |entry| entry.seq == failed.seq);
            } else {
                sleep(DISK_PAUSE).await;
            }
        }
    }

    fn with_payload(&self, lane: usize, payload: bytes::Bytes) -> Option<Request> {
        let state = self.state();
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
        let is_over = |entry: &Entry| entry.age_ms(now_ms) > self.max_age_ms;
        self.extract(lane, Expiry::TooOld, is_over);
    }

    fn extract(&self, lane: usize, why: Expiry, is_over: impl Fn(&Entry) -> bool) {
        let mut state = self.state();
        for entry in state.lanes[lane].extract_in_flight(is_over) {
            state.expire(entry, why);
        }
        self.wake_keeper(&state);
    }

    /// Books what became of the batches in flight and tells who waits for it.
    pub(super) fn settle(&self, lane: usize, verdict: &Verdict) {
        let entries = {
            let mut state = self.state();
            let entries = state.lanes[lane].complete();
            let weight = entries.iter().map(Entry::weight).sum();
            state.account.judge(verdict, weight);
            state.note_done(&entries);
            self.wake_keeper(&state);
            entries
        };
        for entry in entries {
            entry.tell(Outcome::Judged(verdict.clone()));
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake_all();
    }

    pub(super) fn lane_of(&self, key: u64) -> usize {
        (key % self.len() as u64) as usize
    }

    fn wake_all(&self) {
        for changed in &self.changed {
            changed.notify_one();
        }
    }

    fn wake_keeper(&self, state: &State) {
        if !state.done.is_empty() {
            self.to_keep.notify_one();
        }
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

    /// The oldest batch in memory that is not in flight.
    fn pop_oldest(&mut self) -> Option<Entry> {
        let lanes = self.lanes.iter().enumerate();
        let oldest = lanes.filter_map(|(lane, entries)| {
            let (index, entry) = entries.oldest_held()?;
            Some((entry.time_ms, lane, index))
        });
        let (_, lane, index) = oldest.min()?;
        self.lanes[lane].remove(index)
    }

    fn expire(&mut self, entry: Entry, why: Expiry) {
        self.account.expire(why, entry.weight());
        self.note_done(std::slice::from_ref(&entry));
        entry.tell(Outcome::Expired(why));
    }

    fn note_done(&mut self, entries: &[Entry]) {
        let places = entries.iter().filter_map(|entry| match entry.body {
            Body::OnDisk(place) => Some((entry.seq, place)),
            Body::InMemory(_) => None,
        });
        self.done.extend(places);
    }
}
