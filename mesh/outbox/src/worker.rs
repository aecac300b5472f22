//! The worker of one lane: delivers what waits, one request at a time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::Code;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use super::{lanes::Lanes, request::Request};
use mesh_base::{backoff::Backoff, random};
use mesh_contract::{
    export::{Export, ExportError, Progress},
    verdict::Verdict,
};

/// The longest time an exporter is given for one request.
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(60);
/// What is added to every wait, so that lanes which failed together do not come back
/// together.
const JITTER: Duration = Duration::from_millis(200);

/// Delivers the batches of one lane.
pub(super) struct Worker<S> {
    lane: usize,
    lanes: Arc<Lanes>,
    exports: S,
    /// What an exporter is given at first.
    base: Duration,
    /// What an exporter is given now: more than `base` while requests take longer.
    span: Duration,
    /// Requests in a row that were answered by nobody, though the exporter is there.
    silences: u32,
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
            silences: 0,
        }
    }

    pub(super) async fn run(mut self) {
        while self.lanes.dispatch(self.lane).await {
            self.deliver().await;
        }
    }

    /// Sends the same bytes until there is a verdict or they have grown too old.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new();
        let mut progress = Progress::default();
        while let Some(request) = self.lanes.request(self.lane).await {
            self.lanes.note_span(self.lane, self.span);
            let began = Instant::now();
            let deadline = began + self.span;
            match self.attempt(request, deadline, &progress).await {
                Ok(verdict) => {
                    self.answered(began.elapsed());
                    return self.lanes.settle(self.lane, &verdict);
                }
                Err(error) => {
                    progress = error.progress().or(progress);
                    self.failed(&error);
                    // The back-off counts from the attempt's beginning: one that has
                    // taken seconds has waited already.
                    let rested = began + backoff.delay();
                    sleep_until(rested.max(self.allowed(&error, deadline))).await;
                    sleep(JITTER.mul_f64(random::range(0.0..1.0))).await;
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
            context: request.context,
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

    /// Gives the next request as much time as this one needed twice, within what was
    /// given before.
    fn answered(&mut self, took: Duration) {
        self.silences = 0;
        let mut enough = self.base;
        while enough < took * 2 && enough < self.span {
            enough *= 2;
        }
        self.span = enough.min(self.span);
    }

    /// Gives the next attempt more time where that will help. A backend that answers
    /// nothing at all hangs: the sooner it is asked again the sooner it is seen to be
    /// well. An exporter of ours always answers in time; another's server that does
    /// not may be a slow one.
    fn failed(&mut self, error: &ExportError) {
        let is_silence =
            matches!(error, ExportError::Unknown { code, .. } if *code == Code::DeadlineExceeded);
        self.silences = if is_silence { self.silences + 1 } else { 0 };
        if error.is_slow() || self.silences > 1 {
            self.span = (self.span * 2).min(MAX_DEADLINE);
        }
    }

    /// When the request may be sent again (law 3).
    fn allowed(&self, error: &ExportError, deadline: Instant) -> Instant {
        let lane = self.lane;
        match error {
            ExportError::Unsent(_) => {
                debug!(lane, %error, "Not sent");
                Instant::now()
            }
            ExportError::Again { after, .. } => {
                debug!(lane, %error, ?after, "Asked to send again");
                Instant::now() + after.unwrap_or_default()
            }
            ExportError::Unknown { .. } => {
                warn!(lane, %error, "No verdict, sending again after the deadline");
                deadline
            }
        }
    }
}
