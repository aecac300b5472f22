//! Reports clients that send strings that are not UTF-8.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tracing::warn;

/// Counts pushes with strings that are not UTF-8, and logs each client once. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct InvalidText {
    /// Clients that were logged.
    logged: Arc<Mutex<HashSet<Option<IpAddr>>>>,
    pushes: Counter,
}

/// Maximum number of clients to remember. Beyond it all are forgotten, and may be logged
/// again.
const MAX_CLIENTS: usize = 10_000;

// === impl InvalidText ===

impl InvalidText {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let invalid_text = Self::default();
        registry.register(
            "pushes_repaired",
            "Pushes with strings that are not UTF-8, whose invalid bytes became U+FFFD",
            invalid_text.pushes.clone(),
        );
        invalid_text
    }

    /// Records a push of `client`.
    pub(crate) fn record(&self, client: Option<IpAddr>) {
        self.pushes.inc();
        if !self.is_first(client) {
            return;
        }
        let client = client.map(tracing::field::display);
        warn!(
            client,
            "Client sends strings that are not UTF-8; invalid bytes become U+FFFD, and metrics \
             with invalid names are rejected"
        );
    }

    /// Returns true for the first push of a client.
    fn is_first(&self, client: Option<IpAddr>) -> bool {
        let mut logged = self.logged.lock();
        if logged.len() >= MAX_CLIENTS && !logged.contains(&client) {
            logged.clear();
        }
        logged.insert(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_each_client_once() {
        let invalid_text = InvalidText::default();
        let client = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        assert!(invalid_text.is_first(client(1)));
        assert!(!invalid_text.is_first(client(1)));
        assert!(invalid_text.is_first(None));
        for n in 2..20_000 {
            invalid_text.is_first(client(n));
        }
        assert!(invalid_text.logged.lock().len() <= MAX_CLIENTS);
    }
}
