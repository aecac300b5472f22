//! HTTP endpoint that answers the requests of peers.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};

use super::{
    protocol::{HandoverRequest, HandoverResponse, PATH},
    shared::Shared,
};

/// Maximum size of a request: about 20 bytes for each target.
const MAX_REQUEST_BYTES: usize = 16 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(PATH, post(respond))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(shared)
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<HandoverRequest>,
) -> Result<Json<HandoverResponse>, (StatusCode, &'static str)> {
    let keys = request.claimed.iter().chain(&request.held_back);
    let keys: HashSet<u64> = keys.copied().collect();
    // The scraped targets are read before the backlog: a loop that has just been stopped may
    // push one more batch in between.
    let mut response = shared.update(|state| state.respond(&request, &shared.outbox));
    // While batches of an earlier process are being read from disk, the backlog is unknown.
    let Some(oldest) = shared.outbox.oldest_pending_ms(&keys) else {
        let reason = "The outbox is still reading the batches of an earlier process\n";
        return Err((StatusCode::SERVICE_UNAVAILABLE, reason));
    };
    response.oldest_batch_ms = oldest.into_iter().collect();
    Ok(Json(response))
}
