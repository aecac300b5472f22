//! What receivers ask each other, and the answer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State as Extract},
    http::StatusCode,
    routing::post,
};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    claims::Seen,
    holds::Word,
    news::{Life, Parting, Rumour},
};

/// Where a receiver is asked.
pub(super) const PATH: &str = "/-/handover";

/// What a receiver asks that claims targets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Question {
    /// What it is called among the members.
    pub(super) from: String,
    /// Its process.
    pub(super) life: Life,
    /// Whether it stops.
    pub(super) parting: Option<Parting>,
    /// Identities of targets that it claims.
    pub(super) claimed: Vec<u64>,
    /// Identities of targets that are not its own, and which it wants to know scraped.
    #[serde(default)]
    pub(super) watched: Vec<u64>,
    /// Identities of targets of which it holds batches back.
    pub(super) held: Vec<u64>,
}

/// What a receiver says of those targets.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Answer {
    /// Its process.
    pub(super) life: Life,
    /// Whether it stops: who has come since did not hear it say so.
    #[serde(default)]
    pub(super) parting: Option<Parting>,
    /// Those it scrapes.
    pub(super) scraped: HashSet<u64>,
    /// Those it claims itself.
    pub(super) claimed: HashSet<u64>,
    /// Those that are gone from discovery, and whose series it has ended.
    #[serde(default)]
    pub(super) ended: HashSet<u64>,
    /// When each was scraped last, in milliseconds since the Unix epoch.
    pub(super) last_ms: BTreeMap<u64, i64>,
    /// Those that answered then.
    #[serde(default)]
    pub(super) up: HashSet<u64>,
    /// The time of the oldest batch of each that waits in its outbox.
    pub(super) oldest_ms: BTreeMap<u64, i64>,
    /// What it knows of other receivers, the asking one among them.
    pub(super) others: BTreeMap<String, Rumour>,
}

// === impl Answer ===

impl Answer {
    /// Whether it has told that the target is scraped, is about to be, or is not to be.
    pub(super) fn knows(&self, target: u64) -> bool {
        let sets = [&self.scraped, &self.claimed, &self.ended];
        sets.iter().any(|set| set.contains(&target))
    }

    /// What it has told of the target's last scrape.
    pub(super) fn last(&self, target: u64) -> Option<Seen> {
        let time_ms = *self.last_ms.get(&target)?;
        let is_up = self.up.contains(&target);
        Some(Seen { time_ms, is_up })
    }

    /// What it says of what waits of a target.
    pub(super) fn word(&self, target: u64) -> Word {
        match self.oldest_ms.get(&target) {
            None => Word::Clear,
            Some(oldest_ms) => Word::Waiting(*oldest_ms),
        }
    }
}

/// Some twenty bytes a target.
const MAX_QUESTION_BYTES: usize = 16 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(PATH, post(answer))
        .layer(DefaultBodyLimit::max(MAX_QUESTION_BYTES))
        .with_state(shared)
}

async fn answer(
    Extract(shared): Extract<Arc<Shared>>,
    Json(question): Json<Question>,
) -> Result<Json<Answer>, (StatusCode, &'static str)> {
    let keys = question.claimed.iter().chain(&question.held);
    let keys: HashSet<u64> = keys.copied().collect();
    // Before it is known what an earlier process has left there is no answer. What is
    // scraped is asked before what waits: it may be pushed in between.
    let mut answer = shared.change(|state| state.answer(&question, &shared.outbox));
    let Some(oldest) = shared.outbox.oldest(&keys) else {
        let why = "What an earlier process has left is still being read\n";
        return Err((StatusCode::SERVICE_UNAVAILABLE, why));
    };
    answer.oldest_ms = oldest.into_iter().collect();
    Ok(Json(answer))
}
