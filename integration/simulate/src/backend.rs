//! The host of the AMP stand-in. Its stored samples survive crashes.

use stand_ins::amp::Backend;

use super::net;

/// Name of the host.
pub(super) const HOST: &str = "backend";

const PORT: u16 = 9090;

/// URL of the remote-write endpoint.
pub(super) fn url() -> String {
    format!(
        "http://{HOST}:{PORT}{}/api/v1/remote_write",
        stand_ins::amp::WORKSPACE
    )
}

/// Serves the stand-in. Never completes.
pub(super) async fn run(backend: Backend) -> turmoil::Result {
    let router = backend.router();
    net::serve(PORT, move |_| router.clone()).await
}
