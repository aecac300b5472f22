//! How many pushes each client has under way.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts the pushes of each client. Cheap to clone. It knows only those that have
/// one under way, so that it is bounded by the pushes there may be.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    under_way: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limit: usize,
}

/// One push of a client; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    clients: Clients,
    client: Option<IpAddr>,
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(limit: usize) -> Self {
        let under_way = Arc::default();
        Self { under_way, limit }
    }

    /// One more push of a client, where it may have one more.
    pub(super) fn turn(&self, client: Option<IpAddr>) -> Option<Turn> {
        if let Some(client) = client {
            let mut under_way = self.lock();
            let pushes = under_way.entry(client).or_default();
            if *pushes >= self.limit {
                return None;
            }
            *pushes += 1;
        }
        let clients = self.clone();
        Some(Turn { clients, client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code that holds the lock can leave the map half changed.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut under_way = self.clients.lock();
        match under_way.get_mut(&client) {
            Some(pushes) if *pushes > 1 => *pushes -= 1,
            _ => drop(under_way.remove(&client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_turns_and_is_forgotten() {
        let clients = Clients::new(2);
        let (a, b) = (Some([127, 0, 0, 1].into()), Some([127, 0, 0, 2].into()));
        let first = clients.turn(a).unwrap();
        let _second = clients.turn(a).unwrap();
        assert!(clients.turn(a).is_none());
        let other = clients.turn(b).unwrap();
        drop(first);
        let _third = clients.turn(a).unwrap();
        drop(other);
        assert_eq!(clients.lock().len(), 1);
    }
}
