//! Routes: one for each destination, as the exporters name them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use mesh_contract::progress::DestinationProgress;

use super::{ALL, Departure, State};
use crate::{
    entry::{Entry, RouteSet},
    outcome::Expiry,
    route::Route,
    weight::Weight,
};

// === impl State ===

impl State {
    /// Follows the destinations that an exporter has. Until an exporter names several, all
    /// batches travel in Exports to all destinations.
    ///
    /// A new destination receives all pending batches. What is pending for a removed one
    /// expires.
    pub(super) fn learn_destinations(
        &mut self,
        names: &[String],
        removed_after: Duration,
        now_ms: i64,
    ) {
        if names.is_empty() {
            return;
        }
        self.knows_batches = true;
        if self.routes.len() == 1 && names.len() == 1 {
            return;
        }
        let now = Instant::now();
        for route in self.routes.values_mut() {
            let destination = route.destination.as_ref();
            if destination.is_some_and(|it| names.iter().any(|name| **name == **it)) {
                route.missing_since = None;
            } else {
                route.missing_since.get_or_insert(now);
            }
        }
        let new = names.iter().filter(|name| self.may_add(name));
        let new: Vec<_> = new.map(|name| Arc::<str>::from(&**name)).collect();
        if !new.is_empty() {
            self.add_routes(new, now_ms);
        }
        self.remove_routes(now, removed_after, now_ms);
    }

    /// Returns true if a destination is unknown. While an Export of a removed route is still in
    /// flight to it, it is not added again.
    fn may_add(&self, name: &str) -> bool {
        let is_it = |destination: &Option<Arc<str>>| destination.as_deref() == Some(name);
        !self.routes.values().any(|route| is_it(&route.destination))
            && !self.ignored.contains(name)
            && !self
                .flights
                .values()
                .any(|flight| is_it(&flight.destination))
    }

    fn add_routes(&mut self, names: Vec<Arc<str>>, now_ms: i64) {
        let (now, mut added, mut account) = (Instant::now(), Vec::new(), self.account.clone());
        (account.spilled, account.waiting_bytes) = (0, 0);
        for name in names {
            let Some(id) = (ALL + 1..RouteSet::MAX).find(|id| !self.routes.contains_key(id)) else {
                warn!(
                    destination = &*name,
                    max = RouteSet::MAX - 1,
                    "Too many destinations, this one gets nothing"
                );
                self.ignored.insert(name.to_string());
                continue;
            };
            info!(destination = &*name, "Destination learned from an exporter");
            let is_required = self.required.contains(&*name);
            let mut route = Route::new(Some(name));
            route.is_required = is_required;
            route.account = account.clone();
            self.routes.insert(id, route);
            added.push(id);
        }
        if added.is_empty() {
            return;
        }
        let mut keys = BTreeSet::new();
        for entry in self.entries.values_mut() {
            keys.insert(entry.key);
            // A lane may wait for Exports or for records of an earlier process.
            let lanes = self
                .routes
                .values()
                .filter_map(|route| route.lane(entry.key));
            let fence = lanes.filter_map(|lane| lane.blocked_until(now)).max();
            let mut is_in_flight = false;
            if entry.routes.contains(ALL)
                && let Some(lane) = self
                    .routes
                    .get_mut(&ALL)
                    .and_then(|all| all.lane_mut(entry.key))
            {
                is_in_flight = lane.has_attempted(entry.seq);
                if !is_in_flight {
                    lane.remove(entry.seq, None);
                    entry.routes.remove(ALL);
                }
            }
            if !is_in_flight {
                add_to(&mut self.routes, &added, entry, fence);
            }
        }
        let finished: Vec<_> = self
            .entries
            .values()
            .filter(|it| it.routes.is_empty())
            .collect();
        let finished: Vec<_> = finished.into_iter().map(|entry| entry.seq).collect();
        for seq in finished {
            self.finish(seq);
        }
        for key in keys {
            self.refresh_key(key, now_ms);
        }
    }

    fn remove_routes(&mut self, now: Instant, removed_after: Duration, now_ms: i64) {
        let stale = self.routes.iter().filter(|(_, route)| {
            let missing = route.missing_since.filter(|_| route.destination.is_some());
            missing.is_some_and(|since| since + removed_after <= now)
        });
        let stale: Vec<usize> = stale.map(|(id, _)| *id).collect();
        for id in stale {
            let seqs: Vec<u64> = self.routes[&id].seqs().collect();
            let samples = self.routes[&id].account.waiting;
            warn!(
                destination = self.routes[&id].destination.as_deref(),
                samples, "No exporter writes to the destination any more, its samples expire"
            );
            for seq in seqs {
                let removed = Departure::Expired(Expiry::DestinationRemoved);
                self.leave(id, seq, removed, now_ms);
            }
            self.routes.remove(&id);
        }
    }
}

/// Adds a batch to the lanes of these routes, except for destinations that an earlier process
/// has completed it at.
fn add_to(
    routes: &mut BTreeMap<usize, Route>,
    ids: &[usize],
    entry: &mut Entry,
    fence: Option<Instant>,
) {
    let progress = DestinationProgress::decode(&entry.progress);
    for id in ids {
        let Some(route) = routes.get_mut(id) else {
            continue;
        };
        let name = route.destination.as_deref();
        if name.is_some_and(|name| progress.is_complete(name)) {
            // The earlier process has counted it.
            route.account.forget(Weight::of_samples(entry.samples));
            continue;
        }
        entry.routes.insert(*id);
        route.push(entry.key, entry.seq);
        if let Some(lane) = route.lane_mut(entry.key) {
            lane.not_before = lane.not_before.max(fence);
        }
    }
}
