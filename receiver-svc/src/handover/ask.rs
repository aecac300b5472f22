//! Asks the others, as long as there is something to ask.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh::http_client::{HttpClient, HttpClientError};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{
    Shared,
    answer::{Answer, PATH, Question},
    news::Parting,
    peers::ANSWER_TIME,
    state::Round,
};

/// Asks the others about what is claimed or held back.
#[derive(Debug)]
pub struct Asker {
    shared: Arc<Shared>,
    client: HttpClient,
}

/// An answer that did not come.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Client(#[from] HttpClientError),
    #[error("{0}")]
    Status(StatusCode),
    #[error("body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("not a question: {0}")]
    Request(#[from] http::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("no answer in time")]
    Late,
}

const MAX_ANSWER_BYTES: usize = 64 << 20;

// === impl Asker ===

impl Asker {
    pub(super) fn new(shared: Arc<Shared>, client: HttpClient) -> Self {
        Self { shared, client }
    }

    /// Asks for ever.
    pub async fn run(self) {
        loop {
            let woken = self.shared.wake.notified();
            self.shared.adopt();
            let round = self.shared.state().round(&self.shared.outbox);
            let pause = match round {
                Some(round) => self.ask_all(&round).await,
                None => self.shared.state().idle(),
            };
            tokio::select! {
                biased;
                () = woken => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn ask_all(&self, round: &Round) -> Duration {
        let asked = round.peers.iter().map(async |(name, has)| {
            let answer = self.ask(name, &round.question, *has).await;
            if let Err(error) = &answer {
                debug!(name, %error, "Receiver not reached");
            }
            (name.clone(), answer.ok())
        });
        let heard = join_all(asked).await.into_iter().collect();
        let Shared {
            outbox, metrics, ..
        } = &*self.shared;
        let pause = self
            .shared
            .change(|state| state.conclude(round, &heard, outbox, metrics));
        if round.question.parting == Some(Parting::Drained) {
            self.shared.told.notify_one();
        }
        pause
    }

    /// Asks one, which has so long for its answer. A later one shows at least that it
    /// lives, so that it is given longer the next time.
    async fn ask(
        &self,
        name: &str,
        question: &Question,
        has: Duration,
    ) -> Result<Answer, Unanswered> {
        let request = Request::post(format!("http://{name}{PATH}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(serde_json::to_vec(question)?))?;
        let mut answer = Box::pin(answer(self.client.clone(), request));
        if let Ok(answer) = timeout(has, &mut answer).await {
            return answer;
        }
        let left = ANSWER_TIME.saturating_sub(has);
        if !left.is_zero() {
            let (shared, name) = (self.shared.clone(), name.to_owned());
            tokio::spawn(async move {
                if let Ok(Ok(answer)) = timeout(left, answer).await {
                    shared.change(|state| state.peers.heard(&name, answer.life));
                }
            });
        }
        Err(Unanswered::Late)
    }
}

async fn answer(client: HttpClient, request: Request<Bytes>) -> Result<Answer, Unanswered> {
    let response = client.request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(Unanswered::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
    let body = body.collect().await.map_err(Unanswered::Body)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}
