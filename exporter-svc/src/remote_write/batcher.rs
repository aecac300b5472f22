//! Batches request parts into requests, with one task per destination.
//!
//! The task owns the destination's [`Queue`] and [`AdaptiveConcurrency`]. A separate
//! task per request compresses, signs and posts it.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use mesh_base::backoff::jitter;
use mesh_contract::verdict::Reason;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tracing::{Instrument, debug, warn};

use super::{
    PartOutcome, Retry, RetryCause, attribution,
    client::{Client, PostError},
    concurrency::{AdaptiveConcurrency, ConcurrencyLimits},
    health::HealthProbe,
    metadata::PendingMetadata,
    metrics::Metrics,
    part::RequestLimits,
    queue::{PendingPart, Queue},
    response::WriteResponse,
};

/// Settings of a destination's batcher.
#[derive(Clone, Copy, Debug)]
pub struct BatcherConfig {
    /// Maximum size of a request.
    pub limits: RequestLimits,
    /// Time that a part waits for others to share a request.
    pub linger: Duration,
    /// Limits of requests in flight and of the backoff.
    pub concurrency: ConcurrencyLimits,
    /// Timeout of one post.
    pub timeout: Duration,
    /// Interval of metadata requests; `None` if metadata is off.
    pub metadata: Option<Duration>,
    /// Maximum number of families in a metadata request.
    pub metadata_per_send: usize,
}

/// Handle of one destination's batcher task. The task ends after all handles are
/// dropped and all parts have an outcome.
#[derive(Clone, Debug)]
pub struct Batcher(mpsc::Sender<PendingPart>);

/// Task behind a [`Batcher`].
#[derive(Debug)]
struct Task {
    client: Arc<Client>,
    config: BatcherConfig,
    metrics: Arc<Metrics>,
    health: Arc<HealthProbe>,
    queue: Queue,
    concurrency: AdaptiveConcurrency,
    posts: JoinSet<CompletedPost>,
    metadata_queue: PendingMetadata,
}

/// Result of one post, with the parts of its request.
#[derive(Debug)]
struct CompletedPost {
    pending: Vec<PendingPart>,
    took: Duration,
    response: Result<(StatusCode, WriteResponse), PostError>,
}

/// Capacity of the channel to the task, in parts. The admission of Exports bounds their
/// bytes.
const CHANNEL_CAPACITY: usize = 64;
/// Delay of the first metadata request after the start.
const FIRST_METADATA_DELAY: Duration = Duration::from_secs(5);
/// Interval at which the task looks for parts whose deadline is near or whose sender
/// has disconnected.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

// === impl Batcher ===

impl Batcher {
    /// Starts the task of one destination.
    pub fn spawn(client: Arc<Client>, config: BatcherConfig, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
        let span = tracing::info_span!("remote_write", destination = client.name());
        let health = HealthProbe::new(Arc::clone(&client), Arc::clone(&metrics));
        let task = Task {
            health: Arc::new(health),
            queue: Queue::new(config.limits, config.linger),
            concurrency: AdaptiveConcurrency::new(config.concurrency),
            posts: JoinSet::new(),
            metadata_queue: PendingMetadata::default(),
            client,
            config,
            metrics,
        };
        tokio::spawn(task.run(receiver).instrument(span));
        Self(sender)
    }

    /// Passes a part to the task. Its outcome arrives through [`PendingPart::reply`].
    pub async fn push(&self, pending: PendingPart) {
        // The task outlives all handles. If it ever ended early, the dropped reply
        // would signal a failure.
        let _ = self.0.send(pending).await;
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self, mut parts: mpsc::Receiver<PendingPart>) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = self.config.metadata.unwrap_or(Duration::MAX);
        let mut metadata = Instant::now() + every.min(FIRST_METADATA_DELAY);
        let mut open = true;
        while open || !self.queue.is_empty() || !self.posts.is_empty() {
            let due = self.queue.due(Instant::now());
            tokio::select! {
                // Completed posts and timers come first: they are few, and a flood of
                // new parts must not delay them.
                biased;
                Some(result) = self.posts.join_next() => match result {
                    Ok(completed) => self.complete(completed),
                    Err(error) => warn!(%error, "Post panicked"),
                },
                _ = sweep.tick() => self.sweep(),
                () = tokio::time::sleep_until(metadata), if self.config.metadata.is_some() => {
                    metadata = Instant::now() + every;
                    self.post_metadata();
                }
                pending = parts.recv(), if open => match pending {
                    Some(pending) => self.push(pending),
                    None => open = false,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.post_ready_requests(!open);
        }
    }

    fn push(&mut self, pending: PendingPart) {
        if self.config.metadata.is_some() && !self.client.uses_v2() {
            self.metadata_queue.record(&pending.part.families);
        }
        self.queue.push(pending, Instant::now());
    }

    /// Posts the metadata collected since the last time. Nothing waits for the result:
    /// lost metadata is sent again with the next samples of its series.
    fn post_metadata(&mut self) {
        let deadline = Instant::now() + self.config.timeout;
        let (client, requests) = (
            Arc::clone(&self.client),
            self.metadata_queue.take(self.config.metadata_per_send),
        );
        let post = async move {
            for families in requests {
                let response = client.post_metadata(&families, deadline).await;
                match response.map(|(_, response)| response) {
                    Ok(WriteResponse::Stored | WriteResponse::Deduplicated) => {}
                    Ok(response) => debug!(?response, "Metadata not stored"),
                    Err(error) => debug!(%error, "Metadata not sent"),
                }
            }
        };
        tokio::spawn(post.in_current_span());
    }

    /// Posts the requests that are ready, as far as the concurrency limit allows.
    fn post_ready_requests(&mut self, flush: bool) {
        let now = Instant::now();
        self.metrics.window.set(self.concurrency.window() as i64);
        self.metrics.in_flight.set(self.posts.len() as i64);
        if !self.concurrency.allows(self.posts.len(), now) {
            return self.return_late_parts(now);
        }
        while self.concurrency.allows(self.posts.len(), now) {
            let Some(pending) = self.queue.take(now, flush) else {
                break;
            };
            self.post(pending, now);
        }
        self.metrics.in_flight.set(self.posts.len() as i64);
    }

    fn post(&mut self, pending: Vec<PendingPart>, now: Instant) {
        let (client, timeout) = (Arc::clone(&self.client), self.config.timeout);
        let health = Arc::clone(&self.health);
        let earliest = pending.iter().map(|part| part.deadline).min();
        let deadline = earliest.unwrap_or(now).min(now + timeout);
        self.metrics
            .record_request(pending.iter().map(|pending| &pending.part));
        let post = async move {
            let started = Instant::now();
            let parts: Vec<_> = pending.iter().map(|pending| &pending.part).collect();
            let response = tokio::select! {
                biased;
                response = client.post(&parts, deadline) => response,
                never = health.probe_while_pending(deadline - now) => match never {},
            };
            let took = started.elapsed();
            if response.is_ok() {
                health.record_response(took);
            }
            CompletedPost {
                pending,
                took,
                response,
            }
        };
        self.posts.spawn(post.in_current_span());
    }

    /// Returns parts to their senders if they cannot be posted before their deadline.
    /// Removes parts whose sender has disconnected.
    fn sweep(&mut self) {
        let (now, min_post_time) = (Instant::now(), self.concurrency.min_post_time());
        let health = &self.health;
        let returned = self.queue.sweep(|pending| {
            let late = pending.deadline < now + min_post_time || pending.reply.is_closed();
            late.then(|| {
                let message =
                    "too little time is left before the deadline to post the request".to_owned();
                PartOutcome::Retry(Retry {
                    cause: RetryCause::Unavailable,
                    after: Duration::ZERO,
                    settled: true,
                    slow: health.is_slow(pending.started),
                    message,
                })
            })
        });
        self.metrics.record_returned(returned);
    }

    /// During a backoff, returns parts to their senders if a post after it would miss
    /// their deadline.
    fn return_late_parts(&mut self, now: Instant) {
        let backoff = self.concurrency.backoff(now);
        if backoff.is_zero() {
            return;
        }
        let next_post = now + backoff + self.concurrency.min_post_time();
        let returned = self.queue.sweep(|pending| {
            (pending.deadline < next_post).then(|| {
                PartOutcome::Retry(Retry {
                    cause: RetryCause::Exhausted,
                    after: backoff + jitter(backoff),
                    settled: true,
                    slow: false,
                    message: "the destination is backing off".to_owned(),
                })
            })
        });
        self.metrics.record_returned(returned);
    }

    /// Sends the outcomes of a completed request.
    fn complete(&mut self, completed: CompletedPost) {
        let CompletedPost {
            pending,
            took,
            response,
        } = completed;
        let now = Instant::now();
        for part in &pending {
            self.queue.complete(part, now);
        }
        self.metrics.record_response(&response, took);
        let outcomes = self.outcomes(&pending, took, response);
        for (part, outcome) in pending.into_iter().zip(outcomes) {
            self.metrics.record_outcome(&outcome, &part.part);
            // The receiver may be gone.
            let _ = part.reply.send(outcome);
        }
    }

    fn outcomes(
        &mut self,
        pending: &[PendingPart],
        took: Duration,
        response: Result<(StatusCode, WriteResponse), PostError>,
    ) -> Vec<PartOutcome> {
        let now = Instant::now();
        let status = response.as_ref().ok().map(|(status, _)| *status);
        let (cause, after, settled, message) = match response.map(|(_, response)| response) {
            Ok(WriteResponse::Stored) => {
                self.concurrency.record_success(took);
                return vec![PartOutcome::Stored; pending.len()];
            }
            Ok(WriteResponse::Deduplicated) => {
                self.concurrency.record_success(took);
                return vec![PartOutcome::Deduplicated; pending.len()];
            }
            Ok(WriteResponse::Rejected {
                reason,
                count,
                message,
            }) => {
                warn!(reason = reason.as_str(), error = %message, "Samples rejected by the backend");
                let parts = pending.iter().map(|pending| &pending.part);
                let units = attribution::rejected_units(parts.clone(), reason, count, &message);
                let all = units.iter().sum::<u64>() >= parts.map(|part| part.units).sum();
                let unexplained = matches!(reason, Reason::Refused | Reason::TooLarge);
                // A success status that counts no sample as written does not cause a backoff.
                let is_client_error = status.is_some_and(|status| status.is_client_error());
                if all && unexplained && is_client_error {
                    self.concurrency.record_rejection(took, now);
                } else {
                    self.concurrency.record_success(took);
                }
                let rejected = |units| match units {
                    0 => PartOutcome::Stored,
                    _ => PartOutcome::Rejected {
                        reason,
                        units,
                        message: message.clone(),
                    },
                };
                return units.into_iter().map(rejected).collect();
            }
            Ok(WriteResponse::Throttled { after, message }) => {
                (RetryCause::Exhausted, after, true, message)
            }
            Ok(WriteResponse::Failed { after, message }) => {
                (RetryCause::Unavailable, after, true, message)
            }
            Ok(WriteResponse::Forbidden { message }) => {
                (RetryCause::Unavailable, None, true, message)
            }
            Err(error) => {
                let cause = match error {
                    PostError::DeadlineExceeded => RetryCause::DeadlineExceeded,
                    _ => RetryCause::Unavailable,
                };
                (cause, None, error.is_settled(), error.to_string())
            }
        };
        self.concurrency.record_failure(took, after, now);
        let backoff = self.concurrency.backoff(now);
        warn!(error = %message, ?backoff, "Request failed; senders will retry");
        let after = backoff + jitter(backoff);
        let retry = Retry {
            cause,
            after,
            settled,
            slow: false,
            message,
        };
        let parts = pending.iter().map(|pending| &pending.part);
        self.metrics
            .record_returned(self.queue.return_followers(parts, &retry));
        // A longer timeout helps only the parts whose deadline has passed.
        let timed_out =
            |part: &PendingPart| cause == RetryCause::DeadlineExceeded && part.deadline <= now;
        let retries = pending.iter().map(|pending| {
            PartOutcome::Retry(Retry {
                slow: timed_out(pending) && self.health.is_slow(pending.started),
                ..retry.clone()
            })
        });
        retries.collect()
    }
}
