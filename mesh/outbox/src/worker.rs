//! The worker of one lane: delivers its batches, one request at a time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::Code;
use tower::{Service, ServiceExt};
use tracing::{debug, warn};

use mesh_base::{backoff::Backoff, random};
use mesh_contract::{
    export::{Export, ExportError, Progress},
    verdict::Verdict,
};

use crate::{args::MAX_EXPORT_TIMEOUT, lanes::Lanes, request::Request};

/// Maximum random delay added to each backoff, so that lanes that failed together do not
/// retry together.
const JITTER: Duration = Duration::from_millis(200);

/// Delivers the batches of one lane.
pub(crate) struct Worker<S> {
    lane: usize,
    lanes: Arc<Lanes>,
    exports: S,
    /// Initial timeout of an Export.
    base_timeout: Duration,
    /// Current timeout of an Export. It exceeds `base_timeout` while requests are slow.
    timeout: Duration,
    /// Number of consecutive requests that a running exporter did not respond to.
    silent_timeouts: u32,
}

// === impl Worker ===

impl<S> Worker<S>
where
    S: Service<Export, Response = Verdict, Error = ExportError> + Clone,
{
    pub(crate) fn new(lane: usize, lanes: Arc<Lanes>, exports: S, timeout: Duration) -> Self {
        Self {
            lane,
            lanes,
            exports,
            base_timeout: timeout,
            timeout,
            silent_timeouts: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        while self.lanes.dispatch(self.lane).await {
            self.deliver().await;
        }
    }

    /// Sends the batches in flight until a verdict arrives, or all have expired or been
    /// withdrawn.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new();
        let mut progress = Progress::default();
        let mut samples = None;
        while let Some(request) = self.lanes.request(self.lane).await {
            // Progress counts the samples of all batches. It is void once one has expired.
            if samples.replace(request.samples) != Some(request.samples) {
                progress = Progress::default();
            }
            self.lanes.set_export_timeout(self.lane, self.timeout);
            let began = Instant::now();
            let deadline = began + self.timeout;
            match self.attempt(request, deadline, &progress).await {
                Ok(verdict) => {
                    self.shrink_timeout(began.elapsed());
                    return self.lanes.complete(self.lane, &verdict);
                }
                Err(error) => {
                    progress = error.progress().or(progress);
                    self.extend_timeout(&error);
                    // The backoff starts with the attempt: a slow attempt has waited already.
                    let backed_off = began + backoff.delay();
                    sleep_until(backed_off.max(self.retry_at(&error, deadline))).await;
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
                message: "no response before the deadline".to_owned(),
                progress: Progress::default(),
            }),
        }
    }

    /// Shrinks the timeout after a success to at least twice the time of the request.
    fn shrink_timeout(&mut self, took: Duration) {
        self.silent_timeouts = 0;
        let mut enough = self.base_timeout;
        while enough < took * 2 && enough < self.timeout {
            enough *= 2;
        }
        self.timeout = enough.min(self.timeout);
    }

    /// Doubles the timeout after a failure if more time helps.
    ///
    /// A longer timeout does not help with a backend that hangs: frequent retries notice
    /// its recovery sooner. Our own exporters always respond before the deadline. A foreign
    /// OTLP server that does not respond twice in a row may be slow.
    fn extend_timeout(&mut self, error: &ExportError) {
        let is_silent =
            matches!(error, ExportError::Unknown { code, .. } if *code == Code::DeadlineExceeded);
        self.silent_timeouts = if is_silent {
            self.silent_timeouts + 1
        } else {
            0
        };
        if error.is_slow() || self.silent_timeouts > 1 {
            self.timeout = (self.timeout * 2).min(MAX_EXPORT_TIMEOUT);
        }
    }

    /// Returns the earliest time of the next attempt (law 3).
    fn retry_at(&self, error: &ExportError, deadline: Instant) -> Instant {
        let lane = self.lane;
        match error {
            ExportError::Unsent(_) => {
                debug!(lane, %error, "Export not sent, retrying");
                Instant::now()
            }
            ExportError::Retry { after, .. } => {
                debug!(lane, %error, ?after, "Exporter asked for a retry");
                Instant::now() + after.unwrap_or_default()
            }
            ExportError::Unknown { .. } => {
                warn!(lane, %error, "Export outcome unknown, retrying after the deadline");
                deadline
            }
        }
    }
}
