//! Limits the number of pushes in flight per client.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

/// Counts the pushes in flight of each client. Cheap to clone.
///
/// A client without pushes has no entry, so that `--otlp.max-concurrent-pushes` limits
/// the size.
#[derive(Clone, Debug)]
pub(super) struct ClientLimiter {
    in_flight: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limit: usize,
}

/// Permit for one push of a client. Dropping it ends the push.
#[derive(Debug)]
pub(super) struct ClientPermit {
    clients: ClientLimiter,
    client: Option<IpAddr>,
}

// === impl ClientLimiter ===

impl ClientLimiter {
    pub(super) fn new(limit: usize) -> Self {
        let in_flight = Arc::default();
        Self { in_flight, limit }
    }

    /// Starts a push of a client. Returns `None` if the client is at its limit. A client
    /// without a known address has no limit.
    pub(super) fn try_acquire(&self, client: Option<IpAddr>) -> Option<ClientPermit> {
        if let Some(client) = client {
            let mut in_flight = self.lock();
            let pushes = in_flight.entry(client).or_default();
            if *pushes >= self.limit {
                return None;
            }
            *pushes += 1;
        }
        let clients = self.clone();
        Some(ClientPermit { clients, client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.in_flight.lock()
    }
}

// === impl ClientPermit ===

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut in_flight = self.clients.lock();
        match in_flight.get_mut(&client) {
            Some(pushes) if *pushes > 1 => *pushes -= 1,
            _ => drop(in_flight.remove(&client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_each_client_and_forgets_idle_ones() {
        let clients = ClientLimiter::new(2);
        let (a, b) = (Some([127, 0, 0, 1].into()), Some([127, 0, 0, 2].into()));
        let first = clients.try_acquire(a).unwrap();
        let _second = clients.try_acquire(a).unwrap();
        assert!(clients.try_acquire(a).is_none());
        let other = clients.try_acquire(b).unwrap();
        drop(first);
        let _third = clients.try_acquire(a).unwrap();
        drop(other);
        assert_eq!(clients.lock().len(), 1);
    }
}
