//! A route: the lanes of one destination, and the batches that can be sent next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use mesh_contract::report::MAX_BATCHES;

use crate::{
    account::Account,
    delay::Delay,
    entry::Entry,
    hold_backs::HoldBacks,
    lane::{Lane, Place, ReadyBatch},
    rate::DeliveryRate,
};

/// The lanes of one destination.
#[derive(Debug)]
pub(crate) struct Route {
    /// Name of the destination. `None` for all destinations, as long as no exporter has
    /// named several.
    pub(crate) destination: Option<Arc<str>>,
    /// `true` if callers wait for this destination although others are not marked.
    pub(crate) is_required: bool,
    /// Samples of this destination by outcome.
    pub(crate) account: Account,
    /// Delay of the batches of this destination.
    pub(crate) delay: Delay,
    /// Time when an exporter first did not name this destination, since one has named it.
    pub(crate) missing_since: Option<Instant>,
    began_at: Instant,
    lanes: BTreeMap<u64, Lane>,
    /// Keys of the lanes whose first batch can be sent, by its sequence number.
    ready: BTreeMap<u64, u64>,
    ready_bytes: usize,
    /// Keys of the lanes whose first batch is a suspect, by its sequence number.
    suspects: BTreeMap<u64, u64>,
    /// Number of ready batches whose outcome a client awaits.
    ready_awaited: usize,
    /// Number of ready lanes with more than one batch.
    ready_backlogs: usize,
    /// Lanes that wait for a time.
    blocked: BTreeSet<(Instant, u64)>,
    /// Lanes whose first batch is held back.
    held: BTreeSet<u64>,
    /// Time when the held-back batches were checked for their age.
    held_checked_at: Instant,
    in_flight_bytes: usize,
    last_dispatch: Option<Instant>,
    /// Samples that the destination completes in a second.
    pub(crate) rate: DeliveryRate,
}

/// State of the outbox that decides whether a batch can be sent.
pub(crate) struct Pending<'a> {
    pub(crate) entries: &'a BTreeMap<u64, Entry>,
    pub(crate) hold_backs: &'a HoldBacks,
    pub(crate) now: Instant,
    pub(crate) now_ms: i64,
}

/// Limits of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLimits {
    /// Maximum bytes of one request with several batches.
    pub(crate) request_bytes: usize,
    /// Bytes in flight at which a route sends no further request.
    pub(crate) in_flight_bytes: usize,
    /// Time that batches wait after a request for others to join the next one.
    pub(crate) linger: Duration,
}

/// Bytes of ready batches from which a request does not linger.
const LARGE_BYTES: usize = 256 << 10;
/// Maximum time that a batch whose client waits lingers after another request.
const AWAITED_LINGER: Duration = Duration::from_millis(5);
/// Interval at which held-back batches are checked for their age.
const HELD_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of ready batches to look at for one request.
const MAX_LOOKED_AT: usize = 4 * MAX_BATCHES;

// === impl Route ===

impl Route {
    pub(crate) fn new(destination: Option<Arc<str>>) -> Self {
        Self {
            destination,
            is_required: false,
            account: Account::default(),
            delay: Delay::default(),
            missing_since: None,
            began_at: Instant::now(),
            lanes: BTreeMap::new(),
            ready: BTreeMap::new(),
            ready_bytes: 0,
            suspects: BTreeMap::new(),
            ready_awaited: 0,
            ready_backlogs: 0,
            blocked: BTreeSet::new(),
            held: BTreeSet::new(),
            held_checked_at: Instant::now(),
            in_flight_bytes: 0,
            last_dispatch: None,
            rate: DeliveryRate::new(),
        }
    }

    /// Returns true if this is the route of an Export for `destination`. A destination that was
    /// removed and appears again has another route.
    pub(crate) fn is_of(&self, destination: &Option<Arc<str>>) -> bool {
        match (&self.destination, destination) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }

    /// Appends a batch to the lane of its key. Refresh the lane afterwards.
    pub(crate) fn push(&mut self, key: u64, seq: u64) {
        let lane = self.lanes.entry(key).or_default();
        // A batch that moves here from another route may be older.
        let index = lane.seqs.partition_point(|known| *known < seq);
        lane.seqs.insert(index, seq);
    }

    pub(crate) fn lane(&self, key: u64) -> Option<&Lane> {
        self.lanes.get(&key)
    }

    pub(crate) fn lane_mut(&mut self, key: u64) -> Option<&mut Lane> {
        self.lanes.get_mut(&key)
    }

    /// Numbers of the pending batches, in no order.
    pub(crate) fn seqs(&self) -> impl Iterator<Item = u64> {
        self.lanes
            .values()
            .flat_map(|lane| lane.seqs.iter().copied())
    }

    /// Numbers of the first batches of all lanes.
    pub(crate) fn first_seqs(&self) -> impl Iterator<Item = u64> {
        self.lanes
            .values()
            .filter_map(|lane| lane.seqs.front().copied())
    }

    /// Adds `first` to the sequence numbers of all batches. Refresh all lanes afterwards.
    pub(crate) fn renumber(&mut self, first: u64) {
        let keys: Vec<u64> = self.lanes.keys().copied().collect();
        keys.into_iter().for_each(|key| self.unlist(key));
        for lane in self.lanes.values_mut() {
            lane.seqs.iter_mut().for_each(|seq| *seq += first);
        }
    }

    /// Lists the lane of a key where it belongs after a change. Drops an unused lane.
    /// `waits_for_all` is set while the key has a batch on its way to all destinations.
    pub(crate) fn refresh(&mut self, key: u64, pending: &Pending<'_>, waits_for_all: bool) {
        self.unlist(key);
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        if lane.is_in_flight {
            return;
        }
        if lane.is_unused(pending.now) {
            self.lanes.remove(&key);
            return;
        }
        let first = lane.seqs.front();
        let entry = first.and_then(|seq| pending.entries.get(seq));
        let is_held_back = entry.is_some_and(|entry| {
            // An attempt may have delivered it, so that no later barrier concerns it.
            lane.attempts.is_none()
                && pending
                    .hold_backs
                    .holds_back(entry, self.destination.as_deref(), pending.now_ms)
        });
        lane.place = match (lane.blocked_until(pending.now), entry) {
            (Some(until), _) => Place::Blocked(until),
            (None, None) => Place::None,
            (None, Some(_)) if waits_for_all || is_held_back => Place::Held,
            (None, Some(entry)) if lane.attempts.as_ref().is_some_and(|it| it.deaths > 0) => {
                Place::Suspect(entry.seq)
            }
            (None, Some(entry)) => Place::Ready(ReadyBatch {
                seq: entry.seq,
                bytes: entry.raw_bytes,
                is_awaited: entry.is_awaited(),
                is_alone: lane.attempts.as_ref().is_some_and(|it| it.is_alone),
                is_backlog: lane.seqs.len() > 1,
            }),
        };
        match lane.place {
            Place::None => {}
            Place::Blocked(until) => {
                self.blocked.insert((until, key));
            }
            Place::Held => {
                self.held.insert(key);
            }
            Place::Suspect(seq) => {
                self.suspects.insert(seq, key);
            }
            Place::Ready(batch) => {
                self.ready.insert(batch.seq, key);
                self.ready_bytes += batch.bytes;
                self.ready_awaited += usize::from(batch.is_awaited);
                self.ready_backlogs += usize::from(batch.is_backlog);
            }
        }
    }

    fn unlist(&mut self, key: u64) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        match std::mem::take(&mut lane.place) {
            Place::None => {}
            Place::Blocked(until) => {
                self.blocked.remove(&(until, key));
            }
            Place::Held => {
                self.held.remove(&key);
            }
            Place::Suspect(seq) => {
                self.suspects.remove(&seq);
            }
            Place::Ready(batch) => {
                self.ready.remove(&batch.seq);
                self.ready_bytes -= batch.bytes;
                self.ready_awaited -= usize::from(batch.is_awaited);
                self.ready_backlogs -= usize::from(batch.is_backlog);
            }
        }
    }

    /// Keys of the lanes that have to be refreshed because time has passed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<u64> {
        let blocked = self.blocked.iter();
        let due = blocked.take_while(|(until, _)| *until <= now);
        let mut due: Vec<_> = due.map(|(_, key)| *key).collect();
        if now >= self.held_checked_at + HELD_INTERVAL {
            self.held_checked_at = now;
            due.extend(&self.held);
        }
        due
    }

    /// Time when there is something to do unless something changes. `None` if there is
    /// nothing to wait for.
    pub(crate) fn due_at(&self, limits: &RequestLimits, is_closed: bool) -> Option<Instant> {
        let sends = self.sends_at(limits, is_closed);
        let unblocks = self.blocked.first().map(|(until, _)| *until);
        let checks = (!self.held.is_empty()).then(|| self.held_checked_at + HELD_INTERVAL);
        sends.into_iter().chain(unblocks).chain(checks).min()
    }

    /// Time when the next request can be sent, which may have passed; `None` if no batch is
    /// ready or too many bytes are in flight.
    ///
    /// A request costs about as much as a hundred samples, so small batches linger after a
    /// recent request to share the next one. Several batches of one key are a backlog, which
    /// must not be delayed.
    pub(crate) fn sends_at(&self, limits: &RequestLimits, is_closed: bool) -> Option<Instant> {
        let is_full = self.in_flight_bytes > 0 && self.in_flight_bytes >= limits.in_flight_bytes;
        if self.ready.is_empty() || is_full {
            return None;
        }
        let is_urgent = is_closed || self.ready_bytes >= LARGE_BYTES || self.ready_backlogs > 0;
        let linger = if self.ready_awaited > 0 && self.in_flight_bytes == 0 {
            // Nobody else is pushing, so there is nothing to wait for.
            Duration::ZERO
        } else if self.ready_awaited > 0 {
            limits.linger.min(AWAITED_LINGER)
        } else {
            limits.linger
        };
        Some(match self.last_dispatch {
            Some(last) if is_urgent => last,
            Some(last) => last + linger,
            None => self.began_at,
        })
    }

    /// Takes the batches of the next request: the oldest ready ones with the same context,
    /// up to the limits. At most one batch of a key is ready. `joins_awaited` lets batches
    /// whose outcome is awaited share a request.
    pub(crate) fn take(
        &mut self,
        entries: &BTreeMap<u64, Entry>,
        limits: &RequestLimits,
        joins_awaited: bool,
    ) -> Vec<(u64, u64)> {
        let ready = self.ready.iter().take(MAX_LOOKED_AT);
        let mut ready = ready.filter_map(|(seq, key)| Some((entries.get(seq)?, *key)));
        let Some((first, key)) = ready.next() else {
            return Vec::new();
        };
        let may_join = |entry: &Entry| {
            let lane = self.lanes.get(&entry.key);
            let is_alone = lane.is_some_and(|lane| match lane.place {
                Place::Ready(batch) => batch.is_alone,
                _ => false,
            });
            !is_alone && (joins_awaited || !entry.is_awaited())
        };
        let mut taken = vec![(first.seq, key)];
        let mut bytes = first.raw_bytes;
        if may_join(first) {
            for (entry, key) in ready {
                if entry.context != first.context || !may_join(entry) {
                    continue;
                }
                bytes += entry.raw_bytes;
                if bytes > limits.request_bytes || taken.len() == MAX_BATCHES {
                    break;
                }
                taken.push((entry.seq, key));
            }
        }
        for (_, key) in &taken {
            self.unlist(*key);
        }
        taken
    }

    /// Returns true if a batch is held back or waits for an Export to all destinations.
    pub(crate) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns true if a suspect can be sent.
    pub(crate) fn has_suspect(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Takes the oldest suspect. It travels alone.
    pub(crate) fn take_suspect(&mut self) -> Option<(u64, u64)> {
        let (seq, key) = self.suspects.iter().next().map(|(seq, key)| (*seq, *key))?;
        self.unlist(key);
        Some((seq, key))
    }

    /// Bytes in flight.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// Records that a request was sent.
    pub(crate) fn depart(&mut self, bytes: usize) {
        self.in_flight_bytes += bytes;
        self.last_dispatch = Some(Instant::now());
    }

    /// Records that a request is no longer in flight.
    pub(crate) fn arrive(&mut self, bytes: usize) {
        self.in_flight_bytes -= bytes;
    }
}
