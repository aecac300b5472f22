//! Clients of targets behind Unix sockets.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use mesh::http_client::{HttpClient, HttpClientError};

/// One client per socket, so that connections are kept. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets(Arc<Mutex<HashMap<PathBuf, HttpClient>>>);

/// Sockets whose connections are kept; beyond them all are forgotten, those of
/// targets that are gone among them.
const KEPT: usize = 1024;

// === impl Sockets ===

impl Sockets {
    /// The client that is like `client` but for its connections.
    ///
    /// # Errors
    /// Where a certificate or key cannot be used.
    pub(super) fn client(
        &self,
        client: &HttpClient,
        path: &Path,
    ) -> Result<HttpClient, HttpClientError> {
        // No code that holds the lock can leave the map half changed.
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(path) {
            return Ok(known.clone());
        }
        let fresh = client.over_unix_socket(path)?;
        if clients.len() == KEPT {
            clients.clear();
        }
        clients.insert(path.to_owned(), fresh.clone());
        Ok(fresh)
    }
}
