//! The worker of one lane: delivers what waits, one request at a time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::Code;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use super::{lanes::Lanes, request::Request};
use crate::{
    backoff::Backoff,
    export::{Export, ExportError, Progress},
    verdict::Verdict,
};

/// The longest time an exporter is given for one request.
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// Delivers the batches of one lane.
pub(super) struct Worker<S> {
    lane: usize,
    lanes: Arc<Lanes>,
    exports: S,
    /// What an exporter is given at first.
    base: Duration,
    /// What an exporter is given now: more than `base` while requests take longer.
    span: Duration,
}

// === impl Worker ===

impl<S> Worker<S>
where
    S: Service<Export, Response = Verdict, Error = ExportError> + Clone,
{
    pub(super) fn new(lane: usize, lanes: Arc<Lanes>, exports: S, deadline: Duration) -> Self {
        Self {
            lane,
            lanes,
            exports,
            base: deadline,
            span: deadline,
        }
    }

    pub(super) async fn run(mut self) {
        while self.lanes.depart(self.lane).await {
            self.deliver().await;
        }
    }

    /// Sends the same bytes until there is a verdict or they have grown too old.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new();
        let mut progress = Progress::default();
        while let Some(request) = self.lanes.request(self.lane).await {
            self.lanes.note_span(self.lane, self.span);
            let deadline = Instant::now() + self.span;
            match self.attempt(request, deadline, &progress).await {
                Ok(verdict) => {
                    self.span = self.base;
                    return self.lanes.settle(self.lane, &verdict);
                }
                Err(error) => {
                    progress = error.progress().or(progress);
                    self.wait(error, deadline, backoff.delay()).await;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        request: Request,
        deadline: Instant,
        progress: &Progress,
    ) -> Result<Verdict, ExportError> {
        let export = Export {
            facts: request.facts,
            payload: request.payload,
            samples: request.samples,
            deadline,
            progress: progress.clone(),
        };
        match timeout_at(deadline, self.exports.clone().oneshot(export)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ExportError::Unknown {
                code: Code::DeadlineExceeded,
                message: "no answer before the deadline".to_owned(),
                progress: Progress::default(),
            }),
        }
    }

    /// Waits until the request may be sent again (law 3).
    async fn wait(&mut self, error: ExportError, deadline: Instant, delay: Duration) {
        match &error {
            ExportError::Unsent(_) => {
                debug!(lane = self.lane, %error, "Not sent");
                sleep(delay).await;
            }
            ExportError::Again { after, .. } => {
                debug!(lane = self.lane, %error, ?after, "Asked to send again");
                // The exporter's delay is the same for all lanes; ours is not.
                sleep(after.unwrap_or_default() + delay).await;
            }
            ExportError::Unknown { code, .. } => {
                warn!(lane = self.lane, %error, "No verdict, sending again after the deadline");
                if *code == Code::DeadlineExceeded {
                    self.span = (self.span * 2).min(MAX_DEADLINE);
                }
                sleep_until(deadline).await;
                sleep(delay).await;
            }
        }
    }
}
