//! The stand-in for AMP in the simulation: what it has stored survives its
//! crashes.

use super::net;
use stand_ins::amp::Backend;

/// The stand-in's host.
pub(super) const HOST: &str = "backend";

const PORT: u16 = 9090;

/// Where remote write is posted.
pub(super) fn url() -> String {
    format!(
        "http://{HOST}:{PORT}{}/api/v1/remote_write",
        stand_ins::amp::WORKSPACE
    )
}

/// Serves the stand-in for ever.
pub(super) async fn run(backend: Backend) -> turmoil::Result {
    let router = backend.router();
    net::serve(PORT, move |_| router.clone()).await
}
