//! Client of the handover protocol: polls the peers while there is something to ask.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{
    client::{CallError, Client},
    gossip::ShutdownPhase,
    peers::RESPONSE_TIMEOUT,
    protocol::{HandoverRequest, HandoverResponse},
    shared::Shared,
    state::Round,
};

/// Task that polls the peers about claimed and held-back targets.
#[derive(Debug)]
pub struct Poller {
    shared: Arc<Shared>,
    client: Client,
}

// === impl Poller ===

impl Poller {
    pub(super) fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self { shared, client }
    }

    /// Polls the peers. Never completes.
    pub async fn run(self) {
        loop {
            let woken = self.shared.wake.notified();
            self.shared.hold_replayed();
            let round = self.shared.lock().start_round(&self.shared.outbox);
            let pause = match round {
                Some(round) => self.poll_all(&round).await,
                None => self.shared.lock().idle_time(),
            };
            tokio::select! {
                biased;
                () = woken => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Polls all peers of a round and returns the pause until the next one.
    async fn poll_all(&self, round: &Round) -> Duration {
        let polls = round.peers.iter().map(async |(name, timeout)| {
            let response = self.poll(name, &round.request, *timeout).await;
            if let Err(error) = &response {
                debug!(peer = name, %error, "Peer did not answer");
            }
            (name.clone(), response.ok())
        });
        self.client
            .retain(|name| self.shared.lock().peers.may_call(name));
        let responses = join_all(polls).await.into_iter().collect();
        let Shared {
            outbox, metrics, ..
        } = &*self.shared;
        let pause = self
            .shared
            .update(|state| state.finish_round(round, &responses, outbox, metrics));
        if round.request.shutdown == Some(ShutdownPhase::Drained) {
            self.shared.drain_announced.notify_one();
        }
        pause
    }

    /// Sends the request to one peer, if it may be called. A response after `limit` still
    /// shows that the peer is alive, so that the next request to it gets the full timeout.
    async fn poll(
        &self,
        name: &str,
        request: &Arc<HandoverRequest>,
        limit: Duration,
    ) -> Result<HandoverResponse, CallError> {
        if !self.shared.lock().peers.may_call(name) {
            return Err(CallError::Unlisted);
        }
        let (client, peer, request) = (self.client.clone(), name.to_owned(), request.clone());
        let mut call = Box::pin(async move { client.call(&peer, &request).await });
        if let Ok(response) = timeout(limit, &mut call).await {
            return response;
        }
        let rest = RESPONSE_TIMEOUT.saturating_sub(limit);
        if rest.is_zero() {
            self.client.close(name);
            return Err(CallError::Timeout);
        }
        let (shared, client, name) = (self.shared.clone(), self.client.clone(), name.to_owned());
        tokio::spawn(async move {
            match timeout(rest, call).await {
                Ok(Ok(response)) => {
                    shared.update(|state| state.peers.record_contact(&name, response.process));
                }
                Ok(Err(_)) => {}
                Err(_) => client.close(&name),
            }
        });
        Err(CallError::Timeout)
    }
}
