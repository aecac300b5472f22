//! Counts the connections of each client address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// Open connections by client address. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limit: usize,
}

/// An open connection of a client. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct ClientConnection {
    clients: Clients,
    client: IpAddr,
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(limit: usize) -> Self {
        let open = Arc::default();
        Self { open, limit }
    }

    /// Opens a connection. Returns `None` if the client is at its limit.
    pub(super) fn try_open(&self, client: IpAddr) -> Option<ClientConnection> {
        let client = client.to_canonical();
        let mut open = self.open.lock();
        let connections = open.entry(client).or_default();
        if *connections >= self.limit {
            return None;
        }
        *connections += 1;
        let clients = self.clone();
        Some(ClientConnection { clients, client })
    }
}

// === impl ClientConnection ===

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        match open.get_mut(&self.client) {
            Some(connections) if *connections > 1 => *connections -= 1,
            _ => drop(open.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_each_client_and_forgets_closed_connections() {
        let clients = Clients::new(1);
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let first = clients.try_open(a);
        assert!(first.is_some() && clients.try_open(b).is_some());
        assert!(clients.try_open(a).is_none());
        drop(first);
        assert!(clients.open.lock().is_empty());
        assert!(clients.try_open(a).is_some());
    }
}
