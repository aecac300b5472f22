//! The hosts of the AMP stand-ins. Their stored samples survive crashes.

use stand_ins::amp::Backend;

use super::net;

/// Name of the host, and of the destination if there are two.
pub(super) const HOST: &str = "backend";
/// Name of the host of the second destination.
pub(super) const SECOND: &str = "backend-2";

const PORT: u16 = 9090;

/// URL of the remote-write endpoint of a host.
pub(super) fn url(host: &str) -> String {
    format!(
        "http://{host}:{PORT}{}/api/v1/remote_write",
        stand_ins::amp::WORKSPACE
    )
}

/// Serves the stand-in. Never completes.
pub(super) async fn run(backend: Backend) -> turmoil::Result {
    let router = backend.router();
    net::serve(PORT, move |_| router.clone()).await
}
