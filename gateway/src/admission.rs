//! Admits pushes before their body is read: authentication, limits on pushes in flight,
//! and the memory budget.

mod client_limiter;
mod metrics;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, request::Parts};
use mesh_base::budget::{Budget, Reservation};
use mesh_net::server::Peer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::Authenticator,
    limits::LimitArgs,
    push_error::{PushError, RetryCause, RetryLater},
};
use client_limiter::{ClientLimiter, ClientPermit};
pub(crate) use metrics::AdmissionMetrics;

/// Admits pushes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    auth: Authenticator,
    pushes: Arc<Semaphore>,
    clients: ClientLimiter,
    budget: Budget,
    trust_forwarded_for: bool,
    metrics: AdmissionMetrics,
}

/// Permit of an admitted push. Dropping it releases its memory and its place in the limits.
#[derive(Debug)]
pub(crate) struct Permit {
    /// Address of the client, if known.
    pub(crate) client: Option<IpAddr>,
    /// Memory reserved so far.
    memory: Reservation,
    budget: Budget,
    _push: OwnedSemaphorePermit,
    _client_permit: ClientPermit,
}

/// Header in which a proxy reports the address of its client.
const FORWARDED_FOR: &str = "x-forwarded-for";

// === impl Admission ===

impl Admission {
    pub(crate) fn new(
        auth: Authenticator,
        limits: &LimitArgs,
        trust_forwarded_for: bool,
        metrics: AdmissionMetrics,
    ) -> Self {
        let budget = Budget::new(limits.memory_budget.in_memory());
        metrics.limits(limits);
        Self {
            auth,
            pushes: Arc::new(Semaphore::new(limits.max_concurrent_pushes)),
            clients: ClientLimiter::new(limits.max_concurrent_pushes_per_client),
            budget,
            trust_forwarded_for,
            metrics,
        }
    }

    /// Admits a push.
    ///
    /// # Errors
    /// Returns an error if authentication fails or a limit on pushes in flight is reached.
    pub(crate) fn admit(&self, request: &Parts) -> Result<Permit, PushError> {
        self.auth.check(&request.headers)?;
        let client = self.client(request);
        let pushes = self.pushes.clone();
        let push = pushes
            .try_acquire_owned()
            .map_err(|_| RetryLater::new(RetryCause::PushLimit))?;
        let client_permit = self.clients.try_acquire(client);
        let client_permit = client_permit.ok_or(RetryLater::new(RetryCause::ClientLimit))?;
        Ok(Permit {
            client,
            memory: self.budget.empty_reservation(),
            budget: self.budget.clone(),
            _push: push,
            _client_permit: client_permit,
        })
    }

    pub(crate) fn metrics(&self) -> &AdmissionMetrics {
        &self.metrics
    }

    /// Updates the gauges of pushes in flight and of their memory.
    pub(crate) fn update_gauges(&self) {
        self.metrics
            .in_use(self.pushes.available_permits(), self.budget.reserved());
    }

    /// Address of the client: the peer, or the address in a trusted `X-Forwarded-For`.
    fn client(&self, request: &Parts) -> Option<IpAddr> {
        let forwarded = if self.trust_forwarded_for {
            forwarded_for(&request.headers)
        } else {
            None
        };
        let peer = request.extensions.get::<Peer>();
        forwarded.or(peer.map(|peer| peer.0.ip().to_canonical()))
    }
}

// === impl Permit ===

impl Permit {
    /// Reserves memory for the decoded request: `bytes` in total.
    ///
    /// # Errors
    /// Returns [`PushError::TooLarge`] if the whole budget is smaller, and
    /// [`RetryCause::Memory`] if too little of it is free now.
    pub(crate) fn reserve_decoded(&mut self, bytes: usize) -> Result<(), PushError> {
        let limit = self.budget.capacity();
        if bytes > limit {
            return Err(PushError::TooLarge {
                limit,
                stage: " once decoded",
            });
        }
        self.grow_to(bytes)
    }

    /// Reserves memory for the copies of a push that is split: `bytes` in addition.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::reserve_decoded`].
    pub(crate) fn reserve_more(&mut self, bytes: usize) -> Result<(), PushError> {
        let bytes = self.memory.bytes().saturating_add(bytes);
        let limit = self.budget.capacity();
        if bytes > limit {
            return Err(PushError::TooLarge {
                limit,
                stage: " once split so that each part has one point of each stream",
            });
        }
        self.grow_to(bytes)
    }

    /// Releases the memory except `bytes`. The outbox accounts for the data from now on.
    pub(crate) fn release_memory(&mut self, bytes: usize) {
        self.memory.shrink_to(bytes);
    }

    /// Raises the reserved memory to `bytes`.
    ///
    /// # Errors
    /// Returns [`PushError::TooLarge`] if the whole budget is smaller, and
    /// [`RetryCause::Memory`] if too little of it is free now.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), PushError> {
        let limit = self.budget.capacity();
        if bytes > limit {
            return Err(PushError::TooLarge {
                limit,
                stage: " in memory (--otlp.memory-budget)",
            });
        }
        if self.memory.grow_to(bytes) {
            Ok(())
        } else {
            Err(RetryLater::new(RetryCause::Memory).into())
        }
    }
}

/// Last address of `X-Forwarded-For`, which the nearest proxy added. Earlier addresses can
/// be forged.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?.trim();
    let bare = last.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

#[cfg(test)]
mod tests;
