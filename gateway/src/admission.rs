//! What a push has to pass before a byte of it is read, whichever protocol it came
//! by: who sends it, how many it has under way, and the memory there is.

mod clients;
mod metrics;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, request::Parts};
use mesh::{
    budget::{Budget, Share},
    serve::Peer,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    args::LimitArgs,
    auth::Auth,
    refusal::{Busy, Cause, Refusal},
};
use clients::{Clients, Turn};
pub(crate) use metrics::AdmissionMetrics;

/// Lets pushes in. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    auth: Auth,
    pushes: Arc<Semaphore>,
    clients: Clients,
    budget: Budget,
    trust_forwarded_for: bool,
    metrics: AdmissionMetrics,
}

/// A push that was let in; its places are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Where it comes from, where that is known.
    pub(crate) client: Option<IpAddr>,
    /// The memory it has taken so far.
    memory: Share,
    budget: Budget,
    _push: OwnedSemaphorePermit,
    _turn: Turn,
}

/// Header in which a proxy says for whom it sends.
const FORWARDED_FOR: &str = "x-forwarded-for";

// === impl Admission ===

impl Admission {
    pub(crate) fn new(
        auth: Auth,
        limits: &LimitArgs,
        trust_forwarded_for: bool,
        metrics: AdmissionMetrics,
    ) -> Self {
        let budget = Budget::new(limits.memory_budget);
        metrics.limits(limits);
        Self {
            auth,
            pushes: Arc::new(Semaphore::new(limits.max_concurrent_pushes)),
            clients: Clients::new(limits.max_concurrent_pushes_per_client),
            budget,
            trust_forwarded_for,
            metrics,
        }
    }

    /// Lets a push in, or says why not.
    pub(crate) fn admit(&self, request: &Parts) -> Result<Admitted, Refusal> {
        self.auth.check(&request.headers)?;
        let client = self.client(request);
        let pushes = self.pushes.clone();
        let push = pushes
            .try_acquire_owned()
            .map_err(|_| Busy::new(Cause::PushLimit))?;
        let turn = self.clients.turn(client);
        let turn = turn.ok_or(Busy::new(Cause::ClientLimit))?;
        Ok(Admitted {
            client,
            memory: self.budget.begin(),
            budget: self.budget.clone(),
            _push: push,
            _turn: turn,
        })
    }

    pub(crate) fn metrics(&self) -> &AdmissionMetrics {
        &self.metrics
    }

    /// Shows what is taken by now.
    pub(crate) fn show(&self) {
        self.metrics
            .in_use(self.pushes.available_permits(), self.budget.taken());
    }

    /// Who sends the request: the peer, or who the last proxy says it is.
    fn client(&self, request: &Parts) -> Option<IpAddr> {
        let forwarded = match self.trust_forwarded_for {
            true => forwarded_for(&request.headers),
            false => None,
        };
        let peer = request.extensions.get::<Peer>();
        forwarded.or(peer.map(|peer| peer.0.ip().to_canonical()))
    }
}

// === impl Admitted ===

impl Admitted {
    /// Takes the memory that something will need on top of what it holds, or says
    /// that it never can.
    pub(crate) fn afford(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.budget.bytes();
        match bytes > limit {
            true => Err(Refusal::TooLarge {
                limit,
                what: " once decoded",
            }),
            false => self.grow_to(bytes),
        }
    }

    /// Gives the memory back: what is left of the push is in the outbox' account.
    pub(crate) fn release_memory(&mut self) {
        self.memory = self.budget.begin();
    }

    /// Takes as much memory, or says that it is not there.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        match self.memory.grow_to(bytes) {
            true => Ok(()),
            false => Err(Busy::new(Cause::Memory).into()),
        }
    }
}

/// The address that the nearest proxy has added: what stands before it was written
/// by who knows whom.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?.trim();
    let bare = last.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

#[cfg(test)]
mod tests;
