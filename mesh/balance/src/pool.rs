//! Health of all endpoints of a balancer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::OwnedNotified, watch},
    time::Instant,
};

use mesh_base::backoff::Backoff;
use mesh_contract::export::ExportError;

use crate::{Outcome, connection::Connection};

/// Number of consecutive failures after which an endpoint is ejected.
const FAILURES_TO_EJECT: u32 = 3;
/// Duration of the first ejection. Each further failure doubles it.
const FIRST_EJECTION: Duration = Duration::from_millis(500);
/// Maximum duration of an ejection.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// Health of all endpoints, by address.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    endpoints: Mutex<BTreeMap<String, Arc<Health>>>,
    /// Notified when an endpoint becomes less healthy or is removed.
    changed: Arc<Notify>,
}

/// Health of one endpoint: its connection and its failures.
#[derive(Debug)]
pub(crate) struct Health {
    connection: watch::Receiver<Option<Connection>>,
    failures: Mutex<Failures>,
}

#[derive(Debug)]
struct Failures {
    consecutive: u32,
    /// Duration of the next ejection.
    ejection: Backoff,
    ejected_until: Option<Instant>,
}

// === impl Pool ===

impl Pool {
    /// Returns the notifier for lost connections.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// Returns a future that completes when an endpoint becomes less healthy from now on.
    pub(crate) fn next_change(&self) -> OwnedNotified {
        self.changed.clone().notified_owned()
    }

    pub(crate) fn contains(&self, address: &str) -> bool {
        self.endpoints.lock().contains_key(address)
    }

    pub(crate) fn add(
        &self,
        address: &str,
        connection: watch::Receiver<Option<Connection>>,
    ) -> Arc<Health> {
        let health = Arc::new(Health {
            connection,
            failures: Mutex::default(),
        });
        let mut endpoints = self.endpoints.lock();
        endpoints.insert(address.to_owned(), health.clone());
        health
    }

    /// Removes all endpoints but those of `addresses`. Returns the removed addresses.
    pub(crate) fn retain(&self, addresses: &BTreeSet<String>) -> Vec<String> {
        let mut removed = Vec::new();
        self.endpoints.lock().retain(|address, _| {
            let stays = addresses.contains(address);
            if !stays {
                removed.push(address.clone());
            }
            stays
        });
        if !removed.is_empty() {
            self.changed.notify_waiters();
        }
        removed
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.endpoints.lock().values().any(|e| e.is_connected())
    }

    /// Returns true if at least one endpoint is connected and not ejected.
    pub(crate) fn has_healthy(&self) -> bool {
        let endpoints = self.endpoints.lock();
        endpoints
            .values()
            .any(|e| e.is_connected() && e.ejected_until().is_none())
    }

    /// Records the outcome of an Export to one of the endpoints. `None` is an Export
    /// that timed out.
    pub(crate) fn record(&self, endpoint: &Health, outcome: Option<&Outcome>) {
        if endpoint.failures.lock().record(outcome, Instant::now()) {
            self.changed.notify_waiters();
        }
    }

    /// Error message for an Export that found no connected endpoint.
    pub(crate) fn unreachable(&self) -> String {
        let endpoints = self.endpoints.lock();
        match (endpoints.first_key_value(), endpoints.len()) {
            (None, _) => "no exporter is known".to_owned(),
            (Some((only, _)), 1) => format!("exporter {only} is not reachable"),
            (_, many) => format!("none of {many} exporters is reachable"),
        }
    }

    #[cfg(test)]
    pub(crate) fn connected(&self) -> Vec<String> {
        let endpoints = self.endpoints.lock();
        let connected = endpoints.iter().filter(|(_, e)| e.is_connected());
        connected.map(|(address, _)| address.clone()).collect()
    }
}

// === impl Health ===

impl Health {
    pub(crate) fn is_connected(&self) -> bool {
        let connection = self.connection.borrow();
        connection.as_ref().is_some_and(|c| !c.is_closed())
    }

    /// Returns the end of the current ejection, if there is one.
    pub(crate) fn ejected_until(&self) -> Option<Instant> {
        let until = self.failures.lock().ejected_until?;
        (Instant::now() < until).then_some(until)
    }
}

// === impl Failures ===

impl Failures {
    /// Returns true if this failure ejects the endpoint.
    fn record(&mut self, outcome: Option<&Outcome>, now: Instant) -> bool {
        match outcome {
            // An exporter that asks for a retry is alive.
            Some(Ok(_) | Err(ExportError::Retry { .. })) => {
                *self = Self::default();
                false
            }
            // The connection was closing, which says nothing about the exporter.
            Some(Err(ExportError::Unsent(_))) => false,
            Some(Err(ExportError::Unknown { .. })) | None => self.fail(now),
        }
    }

    fn fail(&mut self, now: Instant) -> bool {
        self.consecutive += 1;
        if self.consecutive < FAILURES_TO_EJECT {
            return false;
        }
        self.ejected_until = Some(now + self.ejection.bound());
        true
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            consecutive: 0,
            ejection: Backoff::with_bounds(FIRST_EJECTION, LONGEST_EJECTION),
            ejected_until: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn consecutive_failures_eject_for_longer_and_longer() {
        let now = Instant::now();
        let mut failures = Failures::default();
        let mut durations = Vec::new();
        for _ in 0..20 {
            failures.record(None, now);
            durations.push(
                failures
                    .ejected_until
                    .map(|until| (until - now).as_millis()),
            );
        }
        assert_eq!(
            durations[..5],
            [None, None, Some(500), Some(1000), Some(2000)]
        );
        assert_eq!(durations[19], Some(30_000));
        failures.record(Some(&Ok(Default::default())), now);
        assert_eq!(failures.ejected_until, None);
    }
}
