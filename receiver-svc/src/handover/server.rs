//! gRPC service that answers the requests of peers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use mesh_net::server::Peer;
use mesh_wire::otlp::frame;
use tokio::time::timeout;
use tonic::{Status, metadata::MetadataMap};

use super::{
    access::Access,
    protocol::{HandoverRequest, HandoverResponse},
    shared::Shared,
    wire::PATH,
};

/// Maximum size of a request: 8 bytes for each target.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Time in which a whole request must arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Service `promesh.handover.v1.Handover`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HandoverServer {
    shared: Arc<Shared>,
    access: Access,
}

// === impl HandoverServer ===

impl HandoverServer {
    pub(super) fn new(shared: Arc<Shared>, access: Access) -> Self {
        Self { shared, access }
    }

    /// Answers a request that has the [`Peer`] as an extension.
    pub async fn respond<B>(self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        match self.exchange(request).await {
            Ok(response) => frame::response(&response.encode(), MetadataMap::new()),
            Err(status) => {
                self.shared.metrics.count_refusal(&status);
                status.into_http()
            }
        }
    }

    async fn exchange<B>(&self, request: Request<B>) -> Result<HandoverResponse, Status>
    where
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (head, body) = request.into_parts();
        if head.uri.path() != PATH {
            return Err(Status::unimplemented("this port serves only the handover"));
        }
        let peer = head.extensions.get::<Peer>();
        let peer = peer.ok_or_else(|| Status::internal("the caller's address is unknown"))?;
        let listed = || self.shared.lock().peers.listed();
        let admitted = self
            .access
            .admit(&head.headers, peer.0.ip(), listed)
            .await?;
        let request = read(body).await?;
        admitted.check(&request.sender)?;
        if request.sender == self.shared.lock().peers.me() {
            let why = "the sender has the name of this receiver (--shard.self)";
            return Err(Status::invalid_argument(why));
        }
        self.answer(&request)
    }

    fn answer(&self, request: &HandoverRequest) -> Result<HandoverResponse, Status> {
        let outbox = &self.shared.outbox;
        let keys = request.claimed.iter().chain(&request.held_back);
        let keys: HashSet<u64> = keys.copied().collect();
        // The scraped targets are read before the backlog: a loop that has just been stopped may
        // push one more batch in between.
        let mut response = self.shared.update(|state| state.respond(request, outbox));
        // While batches of an earlier process are being read from disk, the backlog is unknown.
        let oldest = outbox.oldest_pending(&keys).ok_or_else(|| {
            Status::unavailable("the outbox is still reading the batches of an earlier process")
        })?;
        response.oldest_pending = oldest;
        Ok(response)
    }
}

async fn read<B>(body: B) -> Result<HandoverRequest, Status>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let limited = Limited::new(body, MAX_REQUEST_BYTES);
    let body = timeout(BODY_TIMEOUT, limited.collect()).await;
    let late = format!("the request did not arrive within {BODY_TIMEOUT:?}");
    let body = body.map_err(|_| Status::deadline_exceeded(late))?;
    let body = body.map_err(|error| Status::invalid_argument(error.to_string()))?;
    message(body.to_bytes()).and_then(|message| {
        HandoverRequest::decode(message)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    })
}

/// Unwraps the message of a body.
fn message(body: Bytes) -> Result<Bytes, Status> {
    match frame::decode(body) {
        Ok((false, message)) => Ok(message),
        Ok((true, _)) => Err(Status::unimplemented("compression is not supported")),
        Err(error) => Err(Status::invalid_argument(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
