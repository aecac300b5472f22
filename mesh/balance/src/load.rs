//! Load of an endpoint: its pending requests times its peak response time.

use std::time::Duration;

use tokio::time::sleep;
use tower::{
    load::{PeakEwma, completion::TrackCompletion, peak_ewma::Handle},
    util::rng::Rng,
};

use mesh_base::random;
use mesh_contract::export::ExportError;

use crate::Outcome;

/// Response time that a new endpoint is assumed to have.
const INITIAL_LATENCY: Duration = Duration::from_millis(30);
/// Time constant with which a measured peak decays.
const DECAY: Duration = Duration::from_secs(10);
/// Time that a failure adds to the response time.
const FAILURE_LATENCY: Duration = Duration::from_secs(1);

/// Measures the load of `service`.
pub(crate) fn measure<S>(service: S) -> PeakEwma<S, FailureCost> {
    PeakEwma::new(
        service,
        INITIAL_LATENCY,
        DECAY.as_nanos() as f64,
        FailureCost,
    )
}

/// Completes a failed request [`FAILURE_LATENCY`] after its response, as if the exporter
/// were still working on it. An endpoint that fails quickly attracts no requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailureCost;

/// Random numbers of the current thread ([`mesh_base::random`]), which simulations seed.
#[derive(Debug)]
pub(crate) struct ThreadRandom;

// === impl FailureCost ===

impl TrackCompletion<Handle, Outcome> for FailureCost {
    type Output = Outcome;

    fn track_completion(&self, handle: Handle, outcome: Outcome) -> Outcome {
        match &outcome {
            Err(ExportError::Retry { .. } | ExportError::Unknown { .. }) => {
                tokio::spawn(async move {
                    sleep(FAILURE_LATENCY).await;
                    drop(handle);
                });
            }
            Ok(_) | Err(ExportError::Unsent(_)) => drop(handle),
        }
        outcome
    }
}

// === impl ThreadRandom ===

impl Rng for ThreadRandom {
    fn next_u64(&mut self) -> u64 {
        random::bits()
    }
}
