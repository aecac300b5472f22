//! Delivery: what the dispatcher sends next, and what becomes of it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::warn;

use mesh_base::random;
use mesh_contract::{
    export::{ExportError, Progress},
    progress::DestinationProgress,
    report::ExportResponse,
};

use super::{ALL, Departure, Lanes, Next, State};
use crate::{
    flight::{Arrival, Failure, Flight, FlightBatch, InFlight, Landing},
    lane::{Attempts, Lane},
    outcome::Expiry,
    request::{self, Request},
    route::{RequestLimits, Route},
    spill::{self, Poison, SpillError},
    weight::Weight,
};

/// Number of exporters in a row that may die while they have a batch alone, before the batch
/// is dropped.
const MAX_DEATHS: u32 = 3;
/// Minimum time between two questions for the destinations.
const QUESTION_INTERVAL: Duration = Duration::from_secs(1);
/// Delay before a spilled batch is read again after a temporary failure.
const READ_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Mean additional delay of a suspect, for each exporter that died of it.
const SUSPECT_DELAY: Duration = Duration::from_secs(2);
/// Maximum random delay added to each backoff, so that Exports that failed together are not
/// repeated together.
const JITTER: Duration = Duration::from_millis(200);

// === impl Lanes ===

impl Lanes {
    /// Returns the next step of the dispatcher.
    pub(crate) fn next(&self) -> Next {
        let (now, now_ms) = (Instant::now(), self.clock.now_ms());
        let mut state = self.state.lock();
        let state = &mut *state;
        state.sleeps_until = None;
        if state.is_replaying {
            return Next::Wait(None);
        }
        let ids: Vec<usize> = state.routes.keys().copied().collect();
        for id in ids {
            for key in state.take_due(id, now) {
                state.refresh_key(key, now_ms);
            }
            while state.suspect.is_none()
                && let Some(suspect) = state.take_suspect(id)
            {
                if let Some(flight) = self.depart(state, id, vec![suspect], now_ms) {
                    state.suspect = Some(flight.id);
                    return Next::Flight(flight);
                }
            }
            while state.sends_at(id, self).is_some_and(|at| at <= now) {
                let taken = state.take(id, &self.limits);
                if let Some(flight) = self.depart(state, id, taken, now_ms) {
                    return Next::Flight(flight);
                }
            }
        }
        if state.takes_question(now) {
            return Next::Question;
        }
        self.wake_spiller(state);
        if state.is_closed && state.entries.is_empty() {
            return Next::End;
        }
        let due = state.due_at(&self.limits);
        state.sleeps_until = Some(due.unwrap_or(now + Duration::from_secs(3600)));
        Next::Wait(due)
    }

    /// Puts batches of a route in flight. Batches that have become too old expire
    /// first, and batches without waiters are withdrawn: between two attempts no Export of
    /// them is running. `None` if no batch remains.
    fn depart(
        &self,
        state: &mut State,
        id: usize,
        taken: Vec<(u64, u64)>,
        now_ms: i64,
    ) -> Option<Flight> {
        let route = state.routes.get(&id)?;
        let mut flight = Flight {
            id: state.next_flight,
            route: id,
            destination: route.destination.clone(),
            batches: Vec::with_capacity(taken.len()),
            bytes: 0,
            timeout: self.base_timeout,
        };
        for (seq, key) in taken {
            let is_suspect = state.is_suspect(id, key);
            let entry = &state.entries[&seq];
            let expiry = if entry.age_ms(now_ms) > self.max_age_ms {
                Some(Expiry::TooOld)
            } else {
                // The client of a suspect would send it again, and nobody would know its deaths.
                (entry.is_withdrawn() && !is_suspect).then_some(Expiry::Withdrawn)
            };
            if let Some(expiry) = expiry {
                state.leave(id, seq, Departure::Expired(expiry), now_ms);
                continue;
            }
            let (samples, bytes) = (entry.samples, entry.raw_bytes);
            let before = entry.progress.clone();
            let lane = state.routes.get_mut(&id)?.lane_mut(key)?;
            lane.is_in_flight = true;
            let attempts = lane.attempts.as_ref();
            let progress = attempts.map(|it| it.progress.clone()).unwrap_or_default();
            let progress = progress.or(before);
            flight.bytes += bytes;
            flight.timeout = flight.timeout.max(lane.timeout.or(self.base_timeout));
            flight.batches.push(FlightBatch {
                seq,
                key,
                samples,
                progress,
            });
        }
        if flight.batches.is_empty() {
            return None;
        }
        state.next_flight += 1;
        let in_flight = InFlight {
            timeout: flight.timeout,
            destination: flight.destination.clone(),
        };
        state.flights.insert(flight.id, in_flight);
        state.longest_timeout = flight.timeout;
        state.routes.get_mut(&id)?.depart(flight.bytes);
        Some(flight)
    }

    /// Builds the request of a flight. A batch that cannot be read expires. Returns `None` if
    /// no batch remains.
    pub(crate) async fn request(&self, flight: &mut Flight) -> Option<Request> {
        loop {
            let (context, bodies) = self.bodies(flight)?;
            let failed = match request::payload(bodies, self.disk.get().cloned()).await {
                Ok(payload) => {
                    return Some(Request {
                        context,
                        payload: payload.bytes,
                        sizes: payload.sizes,
                    });
                }
                Err(failed) => failed,
            };
            warn!(seq = failed.seq, error = %failed.error, "Reading a spilled batch failed");
            self.spill_stats.count(SpillError::Read);
            if failed.is_permanent() {
                let mut state = self.state.lock();
                let unreadable = Departure::Expired(Expiry::Unreadable);
                state.leave(flight.route, failed.seq, unreadable, self.clock.now_ms());
                flight.batches.retain(|batch| batch.seq != failed.seq);
                self.wake_spiller(&state);
            } else {
                sleep(READ_RETRY_DELAY).await;
            }
        }
    }

    fn bodies(&self, flight: &mut Flight) -> Option<request::Bodies> {
        let state = self.state.lock();
        let (route, destination) = (flight.route, &flight.destination);
        // A batch is gone if its destination was removed.
        flight
            .batches
            .retain(|batch| state.is_pending_at(route, destination, batch.seq));
        let context = state.entries[&flight.batches.first()?.seq].context.clone();
        let entries = flight
            .batches
            .iter()
            .map(|batch| &state.entries[&batch.seq]);
        let bodies = entries.map(|entry| (entry.seq, entry.body.clone()));
        Some((context, bodies.collect()))
    }

    /// Ends a flight without batches.
    pub(crate) fn abandon(&self, flight: &Flight) {
        let mut state = self.state.lock();
        state.end_flight(flight);
        state.sleeps_until = None;
        self.wakeup.notify_one();
    }

    /// Learns the destinations from the answer to a question.
    pub(crate) fn record_answer(&self, answer: &Result<ExportResponse, ExportError>) {
        let mut state = self.state.lock();
        state.asks_at = Some(Instant::now() + QUESTION_INTERVAL);
        let destinations = destinations_of(answer);
        state.learn_destinations(&destinations, self.removed_after, self.clock.now_ms());
        state.sleeps_until = None;
        self.wakeup.notify_one();
    }

    /// Records the result of an attempt.
    pub(crate) fn land(&self, flight: &Flight, arrival: Arrival) {
        let now_ms = self.clock.now_ms();
        let (began, took) = (arrival.began, arrival.began.elapsed());
        let mut state = self.state.lock();
        state.end_flight(flight);
        let was_joint = state.routes.len() == 1;
        let destinations = destinations_of(&arrival.result);
        state.learn_destinations(&destinations, self.removed_after, now_ms);
        // The exporter refused the Export to say that it has several destinations.
        let has_learned = was_joint && state.routes.len() > 1;
        let landed = flight.land(arrival);
        // Batches that failed together are sent together again.
        let backoff = landed.iter().filter_map(|(batch, landing)| match landing {
            Landing::Retry(_) if has_learned => None,
            Landing::Retry(_) => Some(state.next_backoff(flight.route, batch.key)),
            Landing::Verdict(_) => None,
        });
        let backoff = backoff.max().unwrap_or_default();
        let jitter = if backoff.is_zero() {
            Duration::ZERO
        } else {
            JITTER.mul_f64(random::range(0.0..1.0))
        };
        for (batch, landing) in landed {
            if !state.is_pending_at(flight.route, &flight.destination, batch.seq) {
                continue;
            }
            match landing {
                Landing::Verdict(verdict) => {
                    if let Some(lane) = state.lane_mut(flight.route, batch.key) {
                        lane.timeout.shrink(self.base_timeout, took);
                    }
                    let verdict = Departure::Verdict(verdict);
                    state.leave(flight.route, batch.seq, verdict, now_ms);
                }
                Landing::Retry(failure) if state.is_poison(flight, &batch, &failure) => {
                    state.hand_over_poison(flight, &batch);
                    let poison = Departure::Expired(Expiry::Poison);
                    state.leave(flight.route, batch.seq, poison, now_ms);
                }
                Landing::Retry(failure) => {
                    // The backoff starts with the attempt: a slow one has waited already.
                    let retry_at = (began + backoff).max(failure.retry_at) + jitter;
                    let retry_at = retry_at + state.suspect_delay(flight.route, batch.key);
                    let base = self.base_timeout;
                    state.retry(flight, &batch, &failure, retry_at, base, now_ms);
                    state.refresh_key(batch.key, now_ms);
                }
            }
        }
        self.wake_spiller(&state);
        state.sleeps_until = None;
        self.wakeup.notify_one();
    }
}

// === impl State ===

impl State {
    fn take_due(&mut self, route: usize, now: Instant) -> Vec<u64> {
        let route = self.routes.get_mut(&route);
        route.map(|route| route.take_due(now)).unwrap_or_default()
    }

    /// Returns true if an exporter has to be asked for its destinations now: batches wait for
    /// older ones that only some destinations lack, and no Export can learn which there are.
    fn takes_question(&mut self, now: Instant) -> bool {
        let is_needed = !self.knows_batches
            && self.hold_backs.names_destinations()
            && self.routes.get(&ALL).is_some_and(Route::has_held);
        is_needed && self.asks_at.take_if(|at| *at <= now).is_some()
    }

    fn take_suspect(&mut self, route: usize) -> Option<(u64, u64)> {
        self.routes.get_mut(&route)?.take_suspect()
    }

    fn take(&mut self, route: usize, limits: &RequestLimits) -> Vec<(u64, u64)> {
        let route = self.routes.get_mut(&route);
        let taken = route.map(|route| route.take(&self.entries, limits, self.knows_batches));
        taken.unwrap_or_default()
    }

    fn sends_at(&self, route: usize, lanes: &Lanes) -> Option<Instant> {
        let route = self.routes.get(&route)?;
        route.sends_at(&lanes.limits, self.is_closed)
    }

    fn lane_mut(&mut self, route: usize, key: u64) -> Option<&mut Lane> {
        self.routes.get_mut(&route)?.lane_mut(key)
    }

    fn end_flight(&mut self, flight: &Flight) {
        self.flights.remove(&flight.id);
        self.suspect.take_if(|suspect| *suspect == flight.id);
        if let Some(route) = self.routes.get_mut(&flight.route)
            && route.is_of(&flight.destination)
        {
            route.arrive(flight.bytes);
        }
    }

    /// Returns true if a batch of a flight still waits for the flight's outcome. It does not
    /// if its destination was removed.
    fn is_pending_at(&self, route: usize, destination: &Option<Arc<str>>, seq: u64) -> bool {
        let entry = self.entries.get(&seq);
        entry.is_some_and(|entry| entry.routes.contains(route))
            && self
                .routes
                .get(&route)
                .is_some_and(|it| it.is_of(destination))
    }

    fn next_backoff(&mut self, route: usize, key: u64) -> Duration {
        let lane = self.lane_mut(route, key);
        lane.map_or(Duration::ZERO, |lane| {
            lane.attempts.get_or_insert_default().backoff.delay()
        })
    }

    /// Counts the exporters that died while they had a batch alone. Returns true at
    /// [`MAX_DEATHS`].
    fn is_poison(&mut self, flight: &Flight, batch: &FlightBatch, failure: &Failure) -> bool {
        let Some(lane) = self.lane_mut(flight.route, batch.key) else {
            return false;
        };
        let attempts = lane.attempts.get_or_insert_default();
        if failure.is_broken && attempts.is_alone && flight.batches.len() == 1 {
            attempts.deaths += 1;
        } else if !failure.is_unsent {
            attempts.deaths = 0;
        }
        attempts.deaths >= MAX_DEATHS
    }

    /// Lets the spiller report a batch that killed exporters, and keep it.
    fn hand_over_poison(&mut self, flight: &Flight, batch: &FlightBatch) {
        if let Some(entry) = self.entries.get(&batch.seq) {
            self.poison.push(Poison {
                name: spill::poison_name(entry.time_ms, entry.key, entry.seq),
                destination: flight.destination.clone(),
                samples: batch.samples,
                deaths: MAX_DEATHS,
                body: entry.body.clone(),
            });
        }
    }

    /// Returns true if an exporter died while it had the first batch of a lane alone.
    fn is_suspect(&self, route: usize, key: u64) -> bool {
        let lane = self.routes.get(&route).and_then(|route| route.lane(key));
        let attempts = lane.and_then(|lane| lane.attempts.as_ref());
        attempts.is_some_and(|attempts| attempts.deaths > 0)
    }

    /// Additional delay of a suspect. Suspects of other senders have another one, so that they
    /// do not meet at an exporter again.
    fn suspect_delay(&mut self, route: usize, key: u64) -> Duration {
        let lane = self.lane_mut(route, key);
        let attempts = lane.and_then(|lane| lane.attempts.as_ref());
        let deaths = attempts.map_or(0, |attempts| attempts.deaths);
        SUSPECT_DELAY.mul_f64(f64::from(deaths) * random::range(0.5..1.5))
    }

    /// Puts a batch back after a failed attempt. Refresh its key afterwards.
    fn retry(
        &mut self,
        flight: &Flight,
        batch: &FlightBatch,
        failure: &Failure,
        retry_at: Instant,
        base_timeout: Duration,
        now_ms: i64,
    ) {
        let Some(lane) = self.lane_mut(flight.route, batch.key) else {
            return;
        };
        lane.is_in_flight = false;
        lane.not_before = Some(retry_at);
        lane.timeout
            .extend(base_timeout, failure.is_slow, failure.is_silent);
        let attempts = lane.attempts.get_or_insert_default();
        attempts.is_alone |= failure.must_split || failure.may_have_killed;
        if failure.progress != Progress::default() {
            // A batch that advances is not delayed further.
            if failure.progress != attempts.progress {
                attempts.backoff.reset();
            }
            attempts.progress = failure.progress.clone();
        }
        if flight.route == ALL && self.routes.len() > 1 {
            self.split(batch, retry_at, now_ms);
        }
    }

    /// Moves a batch that was sent to all destinations into the lanes of those that have not
    /// completed it.
    fn split(&mut self, batch: &FlightBatch, retry_at: Instant, now_ms: i64) {
        let Some(lane) = self.lane_mut(ALL, batch.key) else {
            return;
        };
        let attempts = lane.attempts.take().unwrap_or_default();
        let Some(entry) = self.entries.get_mut(&batch.seq) else {
            return;
        };
        let earlier = DestinationProgress::decode(&entry.progress);
        let progress = attempts.progress.or(entry.progress.clone());
        let progress = DestinationProgress::decode(&progress);
        entry.routes.remove(ALL);
        let mut complete = Vec::new();
        for (id, route) in &mut self.routes {
            let Some(name) = route.destination.clone() else {
                continue;
            };
            if earlier.is_complete(&name) {
                // The process that spilled the batch has counted it.
                route.account.forget(Weight::of_samples(entry.samples));
                continue;
            }
            entry.routes.insert(*id);
            route.push(batch.key, batch.seq);
            if progress.is_complete(&name) {
                complete.push(*id);
            } else if let Some(lane) = route.lane_mut(batch.key) {
                lane.not_before = Some(retry_at);
                lane.attempts = Some(Box::new(Attempts {
                    backoff: attempts.backoff.clone(),
                    progress: progress.only_partial(&name).encode(),
                    ..*attempts
                }));
            }
        }
        self.complete_at(ALL, batch.seq, false);
        let verdict = progress.verdict().clone().take(batch.samples);
        for id in complete {
            let verdict = Departure::Verdict(verdict.clone());
            self.leave(id, batch.seq, verdict, now_ms);
        }
    }
}

/// Names of the destinations of the exporter that has answered. Empty if none has.
fn destinations_of(answer: &Result<ExportResponse, ExportError>) -> Vec<String> {
    match answer {
        Ok(response) => response.destinations.clone(),
        Err(error) => error.report().destinations,
    }
}
