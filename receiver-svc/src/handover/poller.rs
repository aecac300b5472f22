//! Client of the handover protocol: polls the peers while there is something to ask.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh_net::http_client::{HttpClient, HttpClientError};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{
    gossip::ShutdownPhase,
    peers::RESPONSE_TIMEOUT,
    protocol::{HandoverRequest, HandoverResponse, PATH},
    shared::Shared,
    state::Round,
};

/// Task that polls the peers about claimed and held-back targets.
#[derive(Debug)]
pub struct Poller {
    shared: Arc<Shared>,
    client: HttpClient,
}

/// A peer did not answer.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Client(#[from] HttpClientError),
    #[error("HTTP status {0}")]
    Status(StatusCode),
    #[error("response body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("invalid request: {0}")]
    Request(#[from] http::Error),
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("timeout")]
    Timeout,
}

const MAX_RESPONSE_BYTES: usize = 64 << 20;

// === impl Poller ===

impl Poller {
    pub(super) fn new(shared: Arc<Shared>, client: HttpClient) -> Self {
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

    /// Sends the request to one peer. A response after `limit` still shows that the peer is
    /// alive, so that the next request to it gets the full timeout.
    async fn poll(
        &self,
        name: &str,
        request: &HandoverRequest,
        limit: Duration,
    ) -> Result<HandoverResponse, PollError> {
        let request = Request::post(format!("http://{name}{PATH}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(serde_json::to_vec(request)?))?;
        let mut response = Box::pin(send(self.client.clone(), request));
        if let Ok(response) = timeout(limit, &mut response).await {
            return response;
        }
        let rest = RESPONSE_TIMEOUT.saturating_sub(limit);
        if !rest.is_zero() {
            let (shared, name) = (self.shared.clone(), name.to_owned());
            tokio::spawn(async move {
                if let Ok(Ok(response)) = timeout(rest, response).await {
                    shared.update(|state| state.peers.record_contact(&name, response.process));
                }
            });
        }
        Err(PollError::Timeout)
    }
}

async fn send(client: HttpClient, request: Request<Bytes>) -> Result<HandoverResponse, PollError> {
    let response = client.request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(PollError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES);
    let body = body.collect().await.map_err(PollError::Body)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}
