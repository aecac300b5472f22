//! The lanes: pending batches, in order and within their limits.

mod delivery;
mod hold_back;
mod routes;
mod spill_queue;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::Notified, oneshot},
    time::Instant,
};

use mesh_base::clock::Clock;
use mesh_contract::{batch::Batch, verdict::Verdict};

use crate::{
    account::{Account, AccountSource},
    args::OutboxArgs,
    delay::Delay,
    entry::{Body, Entry},
    flight::{Flight, InFlight},
    hold_backs::{HeldBackTotals, HoldBacks},
    outcome::{Expiry, OutboxClosed, Outcome},
    route::{Pending, RequestLimits, Route},
    spill::{Disk, Done, Poison, SpillStats},
    waiters::{Waiters, Withdraw},
    weight::Weight,
};

/// All lanes of an outbox.
#[derive(Debug)]
pub(crate) struct Lanes {
    state: Mutex<State>,
    wakeup: Notify,
    spiller_wakeup: Notify,
    /// The disk of spilled batches, once it is open.
    pub(crate) disk: OnceLock<Arc<dyn Disk>>,
    pub(crate) spill_stats: Arc<SpillStats>,
    pub(crate) clock: Clock,
    max_bytes: usize,
    max_age_ms: u64,
    limits: RequestLimits,
    /// Time after which a destination is removed that no exporter names.
    removed_after: Duration,
    /// Initial timeout of an Export.
    base_timeout: Duration,
    /// Time after which a pending batch is spilled; `None` without a spill directory.
    spill_after: Option<Duration>,
    /// Set if other processes may have batches of the same keys.
    shares_keys: bool,
}

#[derive(Debug)]
struct State {
    /// Pending batches by sequence number.
    entries: BTreeMap<u64, Entry>,
    /// Lanes by destination. Route [`ALL`] is for all destinations at once.
    routes: BTreeMap<usize, Route>,
    hold_backs: HoldBacks,
    account: Account,
    /// Batches in memory, by their time.
    in_memory: BTreeSet<(i64, u64)>,
    /// Batches that the spiller has not finished with.
    unprocessed: BTreeSet<u64>,
    flights: BTreeMap<u64, InFlight>,
    /// Export in flight whose only batch is a suspect.
    suspect: Option<u64>,
    next_flight: u64,
    next_seq: u64,
    /// Set once the outbox accepts no more batches.
    is_closed: bool,
    /// Set while the batches of an earlier process are read from disk. They go first.
    is_replaying: bool,
    /// Keys of the replayed batches, each with the time of its oldest batch. These keys are
    /// held back.
    replayed: Option<HashMap<u64, i64>>,
    /// Set once the dispatcher has stopped. The spiller then spills all pending batches.
    is_delivery_stopped: bool,
    /// Spilled batches that are done, for the spiller to record in the log.
    done: Vec<Done>,
    /// Batches that killed exporters, for the spiller to keep.
    poison: Vec<Poison<Body>>,
    /// Names of the destinations that callers wait for; empty for all.
    required: BTreeSet<String>,
    /// Names of the destinations beyond the maximum number, which get nothing.
    ignored: BTreeSet<String>,
    /// Lanes that wait until a batch is recorded as done, by the batch.
    unacked: BTreeMap<u64, Vec<(usize, u64)>>,
    /// Time until which the dispatcher sleeps; `None` while it is awake.
    sleeps_until: Option<Instant>,
    /// `true` once an exporter has shown that it distinguishes the batches of an Export.
    knows_batches: bool,
    /// Time of the next question for the destinations. `None` while one is in flight.
    asks_at: Option<Instant>,
    /// Longest timeout of any Export so far that may still apply.
    longest_timeout: Duration,
}

/// Next step of the dispatcher.
pub(crate) enum Next {
    Flight(Flight),
    /// Ask an exporter for its destinations.
    Question,
    /// Wait until this time, or until something changes.
    Wait(Option<Instant>),
    End,
}

/// Outcome of a batch at one destination.
#[derive(Clone, Debug)]
enum Departure {
    Verdict(Verdict),
    Expired(Expiry),
}

/// Number of the route for all destinations at once.
const ALL: usize = 0;

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
        let max_age_ms = args.max_age.as_millis() as u64;
        Self {
            state: Mutex::new(State {
                entries: BTreeMap::new(),
                routes: BTreeMap::from([(ALL, Route::new(None))]),
                hold_backs: HoldBacks::new(max_age_ms),
                account: Account::default(),
                in_memory: BTreeSet::new(),
                unprocessed: BTreeSet::new(),
                flights: BTreeMap::new(),
                suspect: None,
                next_flight: 0,
                next_seq: 0,
                is_closed: false,
                is_replaying: args.spill.spill_dir.is_some(),
                replayed: None,
                is_delivery_stopped: false,
                done: Vec::new(),
                poison: Vec::new(),
                ignored: BTreeSet::new(),
                required: args.required_destinations.iter().cloned().collect(),
                unacked: BTreeMap::new(),
                sleeps_until: None,
                knows_batches: false,
                asks_at: Some(Instant::now()),
                longest_timeout: Duration::ZERO,
            }),
            wakeup: Notify::new(),
            spiller_wakeup: Notify::new(),
            disk: OnceLock::new(),
            spill_stats: Arc::default(),
            clock,
            max_bytes: args.max_bytes.in_memory(),
            max_age_ms,
            limits: RequestLimits {
                request_bytes: args.max_request_bytes.in_memory(),
                in_flight_bytes: args.max_in_flight_bytes.in_memory(),
                linger: args.linger,
            },
            removed_after: args.removed_destination_timeout,
            base_timeout: args.export_timeout(),
            spill_after: args
                .spill
                .spill_dir
                .as_ref()
                .map(|_| args.spill.spill_after),
            shares_keys: false,
        }
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = self.state.lock();
        // A batch that one destination has completed must not keep newer ones from it, so that
        // the destination that is behind loses its oldest samples instead.
        let is_behind = |seq| !state.entries[&seq].completed.is_empty();
        state.fits(bytes, self.max_bytes) || state.oldest_in_memory().is_some_and(is_behind)
    }

    pub(crate) fn push(
        &self,
        batch: Batch,
        outcome: Option<oneshot::Sender<Outcome>>,
        waiters: Option<Waiters>,
    ) -> Result<(), OutboxClosed> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(OutboxClosed);
        }
        let mut entry = Entry::new(state.next_seq, batch, outcome, waiters);
        let (key, weight) = (entry.key, entry.weight());
        state.next_seq += 1;
        state.account.record_push(weight);
        // The account includes the new batch already, so no more bytes must fit.
        while !state.fits(0, self.max_bytes) {
            let Some(oldest) = state.oldest_in_memory() else {
                state.account.record_expiry(Expiry::OutboxFull, weight);
                entry.expire(Expiry::OutboxFull, true);
                entry.send_outcome();
                return Ok(());
            };
            state.expire(oldest, Expiry::OutboxFull, self.clock.now_ms());
        }
        state.insert(entry);
        state.refresh_key(key, self.clock.now_ms());
        self.wake(&mut state);
        drop(state);
        if self.spills_at_once() {
            self.spiller_wakeup.notify_one();
        }
        Ok(())
    }

    /// Waits until the dispatcher has something to do.
    pub(crate) fn wakeup(&self) -> Notified<'_> {
        self.wakeup.notified()
    }

    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.sleeps_until = None;
        self.wakeup.notify_one();
    }

    /// Returns the account of each destination, if exporters have named several.
    pub(crate) fn destinations(&self) -> BTreeMap<String, Account> {
        let state = self.state.lock();
        let named = state.routes.values().filter_map(|route| {
            let name = route.destination.as_deref()?;
            Some((name.to_owned(), route.account.clone()))
        });
        named.collect()
    }

    /// Wakes the dispatcher if something is due before it would wake by itself.
    fn wake(&self, state: &mut State) {
        let due = state.due_at(&self.limits);
        if let Some(until) = state.sleeps_until
            && due.is_some_and(|due| due < until)
        {
            state.sleeps_until = None;
            self.wakeup.notify_one();
        }
    }

    fn wake_spiller(&self, state: &State) {
        if !state.done.is_empty() || !state.poison.is_empty() {
            self.spiller_wakeup.notify_one();
        }
    }
}

impl AccountSource for Lanes {
    fn account(&self) -> Account {
        self.state.lock().account.clone()
    }

    fn destinations(&self) -> BTreeMap<String, Account> {
        Self::destinations(self)
    }

    fn in_flight_bytes(&self) -> u64 {
        let state = self.state.lock();
        let bytes = state.routes.values().map(Route::in_flight_bytes);
        bytes.sum::<usize>() as u64
    }

    fn backlog(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let is_named = state.routes.len() > 1;
        let routes = state.routes.iter_mut();
        let routes = routes.filter(|(id, _)| is_named == (**id != ALL));
        let times = routes.map(|(_, route)| route.rate.time_for(route.account.waiting));
        times.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    fn delays(&self) -> BTreeMap<String, Delay> {
        let now_ms = self.clock.now_ms();
        let state = self.state.lock();
        let is_named = state.routes.len() > 1;
        let routes = state.routes.iter();
        let routes = routes.filter(|(id, _)| is_named == (**id != ALL));
        // Batches that were on their way to all destinations when exporters named several.
        let shared = state.routes.get(&ALL).and_then(|it| state.oldest_ms(it));
        let delays = routes.map(|(_, route)| {
            let name = route.destination.as_deref().unwrap_or_default();
            let oldest_ms = state.oldest_ms(route).into_iter().chain(shared).min();
            let age_ms = oldest_ms.map_or(0, |time_ms| now_ms - time_ms);
            (name.to_owned(), route.delay.with_oldest(age_ms))
        });
        delays.collect()
    }

    fn held_back(&self) -> HeldBackTotals {
        let now_ms = self.clock.now_ms();
        let state = self.state.lock();
        state
            .hold_backs
            .totals(state.entries.values(), &state.routes, now_ms)
    }

    fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    fn spill_stats(&self) -> &SpillStats {
        &self.spill_stats
    }
}

impl Withdraw for Lanes {
    fn withdraw(&self, key: u64) {
        let mut state = self.state.lock();
        let lanes = state.routes.values().filter_map(|route| route.lane(key));
        let seqs: BTreeSet<u64> = lanes.flat_map(|lane| lane.seqs.iter().copied()).collect();
        let mut has_withdrawn = false;
        for seq in seqs {
            let is_withdrawn = state.entries.get(&seq).is_some_and(Entry::is_withdrawn);
            if is_withdrawn && !state.has_attempted(seq) {
                state.expire(seq, Expiry::Withdrawn, self.clock.now_ms());
                has_withdrawn = true;
            }
        }
        if has_withdrawn {
            // The dispatcher ends if the outbox is closed and now empty.
            state.sleeps_until = None;
            self.wakeup.notify_one();
        }
    }
}

// === impl State ===

impl State {
    fn fits(&self, bytes: usize, max_bytes: usize) -> bool {
        self.account.waiting_bytes as usize + bytes <= max_bytes
    }

    /// Adds a batch to the lanes of its key. The account has it already. Refresh the key
    /// afterwards.
    fn insert(&mut self, mut entry: Entry) {
        let (seq, key, samples) = (entry.seq, entry.key, Weight::of_samples(entry.samples));
        let is_named = self.routes.len() > 1;
        for (id, route) in &mut self.routes {
            if is_named == (*id == ALL) {
                continue;
            }
            route.account.record_push(samples);
            entry.routes.insert(*id);
            route.push(key, seq);
        }
        if entry.is_in_memory() {
            self.in_memory.insert((entry.time_ms, seq));
            self.unprocessed.insert(seq);
        }
        self.entries.insert(seq, entry);
    }

    /// Lists the lanes of a key where they belong after a change.
    fn refresh_key(&mut self, key: u64, now_ms: i64) {
        let waits_for_all = self.waits_for_all(key);
        let pending = Pending {
            entries: &self.entries,
            hold_backs: &self.hold_backs,
            now: Instant::now(),
            now_ms,
        };
        for (id, route) in &mut self.routes {
            route.refresh(key, &pending, waits_for_all && *id != ALL);
        }
    }

    /// Returns true if a batch of the key is on its way to all destinations.
    fn waits_for_all(&self, key: u64) -> bool {
        let lane = self.routes.get(&ALL).and_then(|route| route.lane(key));
        self.routes.len() > 1 && lane.is_some_and(|lane| !lane.seqs.is_empty())
    }

    /// Returns true if a batch has been sent to any destination.
    fn has_attempted(&self, seq: u64) -> bool {
        let Some(entry) = self.entries.get(&seq) else {
            return false;
        };
        let lanes = self.routes.values();
        let mut lanes = lanes.filter_map(|route| route.lane(entry.key));
        lanes.any(|lane| lane.has_attempted(seq))
    }

    /// Oldest batch that is in memory and not in flight.
    fn oldest_in_memory(&self) -> Option<u64> {
        let mut oldest = self.in_memory.iter().map(|(_, seq)| *seq);
        oldest.find(|seq| {
            let key = self.entries[seq].key;
            let lanes = self.routes.values();
            let mut lanes = lanes.filter_map(|route| route.lane(key));
            !lanes.any(|lane| lane.has_in_flight(*seq))
        })
    }

    /// Time of the oldest batch that waits in a route. A lane has its oldest batch first.
    fn oldest_ms(&self, route: &Route) -> Option<i64> {
        let entries = route.first_seqs().filter_map(|seq| self.entries.get(&seq));
        entries.map(|entry| entry.time_ms).min()
    }

    /// Drops a batch at all destinations that have not completed it.
    fn expire(&mut self, seq: u64, expiry: Expiry, now_ms: i64) {
        let Some(entry) = self.entries.get(&seq) else {
            return;
        };
        for route in entry.routes.iter() {
            self.leave(route, seq, Departure::Expired(expiry), now_ms);
        }
    }

    /// Removes a batch from a lane. The batch is done once it has left all lanes.
    fn leave(&mut self, route: usize, seq: u64, departure: Departure, now_ms: i64) {
        let is_required = self.is_required(route);
        let Some(entry) = self.entries.get_mut(&seq) else {
            return;
        };
        if !entry.routes.contains(route) {
            return;
        }
        let key = entry.key;
        entry.routes.remove(route);
        let weight = Weight::of_samples(entry.samples);
        let time_ms = entry.time_ms;
        let is_unacked = entry.would_be_replayed();
        for (id, it) in &mut self.routes {
            // An Export to all destinations counts for each of them.
            if *id != route && route != ALL {
                continue;
            }
            match &departure {
                Departure::Verdict(verdict) => {
                    it.account.record_verdict(verdict, weight);
                    it.rate.count(weight.samples);
                    if verdict.not_stored() < weight.samples {
                        it.delay.record_stored(time_ms, now_ms);
                    }
                }
                Departure::Expired(expiry) => it.account.record_expiry(*expiry, weight),
            }
        }
        match departure {
            Departure::Verdict(verdict) => entry.merge(verdict),
            Departure::Expired(expiry) => entry.expire(expiry, is_required),
        }
        let name = self
            .routes
            .get(&route)
            .and_then(|it| it.destination.clone());
        self.complete_at(route, seq, is_unacked);
        if let Some(entry) = self.entries.get_mut(&seq)
            && let Some(name) = name
        {
            // Other destinations still need the batch, which may be spilled later.
            entry.completed.push(name.clone());
            if let Body::OnDisk(location) = entry.body {
                self.done.push(Done::at(seq, location, &name));
            }
        }
        self.answer(seq);
        self.refresh_key(key, now_ms);
    }

    /// Removes a batch from a lane, and forgets it if that was the last one.
    fn complete_at(&mut self, route: usize, seq: u64, is_unacked: bool) {
        let Some(entry) = self.entries.get(&seq) else {
            return;
        };
        let lane = self.routes.get_mut(&route);
        if let Some(lane) = lane.and_then(|route| route.lane_mut(entry.key)) {
            lane.remove(seq, is_unacked.then_some(entry.time_ms));
            if is_unacked {
                let lanes = self.unacked.entry(seq).or_default();
                lanes.push((route, entry.key));
            }
        }
        if entry.routes.is_empty() {
            self.finish(seq);
        }
    }

    /// Returns true if callers wait for a destination: for those that are marked as required,
    /// or for all if none of them is.
    fn is_required(&self, route: usize) -> bool {
        let is_marked = |route: &Route| route.is_required;
        route == ALL
            || !self.routes.values().any(is_marked)
            || self.routes.get(&route).is_some_and(is_marked)
    }

    /// Sends the outcome of a batch that only destinations lack that its caller does not wait
    /// for.
    fn answer(&mut self, seq: u64) {
        let Some(entry) = self.entries.get(&seq) else {
            return;
        };
        let waits = entry.is_awaited() && !entry.routes.iter().any(|route| self.is_required(route));
        if let Some(entry) = self.entries.get_mut(&seq).filter(|_| waits) {
            entry.send_outcome();
        }
    }

    /// Forgets a batch that has left all lanes, and sends its outcome.
    fn finish(&mut self, seq: u64) {
        let Some(mut entry) = self.entries.remove(&seq) else {
            return;
        };
        self.unprocessed.remove(&seq);
        self.in_memory.remove(&(entry.time_ms, seq));
        match entry.expiry {
            Some(expiry) => self.account.record_expiry(expiry, entry.weight()),
            None => self.account.record_verdict(&entry.verdict, entry.weight()),
        }
        if let Body::OnDisk(location) = entry.body {
            self.done.push(Done::everywhere(seq, location));
        }
        entry.send_outcome();
    }

    /// Time when there is something to do unless something changes.
    fn due_at(&self, limits: &RequestLimits) -> Option<Instant> {
        if self.suspect.is_none() && self.routes.values().any(Route::has_suspect) {
            return Some(Instant::now());
        }
        let routes = self.routes.values();
        let due = routes.filter_map(|route| route.due_at(limits, self.is_closed));
        due.min()
    }
}
