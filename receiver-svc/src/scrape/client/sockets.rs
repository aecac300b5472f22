//! HTTP clients for targets behind Unix sockets.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use mesh_net::http_client::{HttpClient, HttpClientError};
use parking_lot::Mutex;

/// One HTTP client per Unix socket, so that connections are reused. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnixSocketClients(Arc<Mutex<HashMap<PathBuf, HttpClient>>>);

/// Maximum number of clients. When it is reached, all are dropped, including those of
/// removed targets.
const MAX_CLIENTS: usize = 1024;

// === impl UnixSocketClients ===

impl UnixSocketClients {
    /// Returns a client with the settings of `client` that connects to the socket at
    /// `path`.
    ///
    /// # Errors
    /// Returns an error if a certificate or key is unusable.
    pub(super) fn client(
        &self,
        client: &HttpClient,
        path: &Path,
    ) -> Result<HttpClient, HttpClientError> {
        let mut clients = self.0.lock();
        if let Some(known) = clients.get(path) {
            return Ok(known.clone());
        }
        let fresh = client.over_unix_socket(path)?;
        if clients.len() == MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(path.to_owned(), fresh.clone());
        Ok(fresh)
    }
}
