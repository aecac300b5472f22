//! Batches request parts into requests, with one task per destination.
//!
//! The task owns the destination's [`Queue`] and [`AdaptiveConcurrency`]. A separate
//! task per request compresses, signs and posts it.

use std::{sync::Arc, time::Duration};

use mesh_base::backoff::jitter;
use mesh_contract::verdict::Verdict;
use mesh_model::config::remote_write::ProtobufMessage;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tracing::{Instrument, debug, warn};

use super::{
    PartOutcome, Retry, RetryCause,
    client::{Client, PostError},
    concurrency::{AdaptiveConcurrency, ConcurrencyLimits},
    delivery::{Decided, Delivered, Delivery, Stop},
    health::HealthProbe,
    metadata::PendingMetadata,
    metrics::Metrics,
    part::{RequestLimits, RequestPart},
    queue::{PendingPart, Queue},
    search::Counts,
    table::Action,
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

/// Result of one request, with its parts.
#[derive(Debug)]
struct CompletedPost {
    pending: Vec<PendingPart>,
    delivered: Delivered,
}

/// Capacity of the channel to the task, in parts. The admission of Exports bounds their
/// bytes.
const CHANNEL_CAPACITY: usize = 64;
/// Delay of the first metadata request after the start.
const FIRST_METADATA_DELAY: Duration = Duration::from_secs(5);
/// Interval at which the task looks for parts whose deadline is near or whose sender
/// has disconnected.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// Interval at which the task names a destination that has never answered.
const SILENCE_INTERVAL: Duration = Duration::from_secs(60);

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
        let mut silence = Instant::now() + SILENCE_INTERVAL;
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
                _ = sweep.tick() => {
                    self.sweep();
                    if Instant::now() >= silence {
                        silence += SILENCE_INTERVAL;
                        self.name_if_silent();
                    }
                }
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
        let protocol = self.client.knowledge().protocol();
        if self.config.metadata.is_some() && protocol == ProtobufMessage::V1 {
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
                match client.post_metadata(&families, deadline).await {
                    Ok(status) if status.is_success() => {}
                    Ok(status) => debug!(%status, "Metadata not stored"),
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
        let metrics = Arc::clone(&self.metrics);
        let min_post_time = self.concurrency.min_post_time();
        let post = async move {
            let parts = pending.iter().map(|pending| &pending.part).collect();
            // A part that was refused before is alone.
            let before = pending
                .first()
                .map_or(Counts::default(), |part| part.before);
            let backend = (&*client, &*metrics, &*health);
            let delivery = Delivery::new(backend, parts, deadline, min_post_time);
            let delivered = tokio::select! {
                biased;
                delivered = delivery.run(before) => delivered,
                never = health.probe_while_pending(deadline - now) => match never {},
            };
            CompletedPost { pending, delivered }
        };
        self.posts.spawn(post.in_current_span());
    }

    /// Logs the name of a destination that failed and has never answered since the start.
    fn name_if_silent(&self) {
        if let Some(error) = self.client.knowledge().silence() {
            warn!(%error, "Destination has not answered since the start");
        }
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
    fn complete(&mut self, CompletedPost { pending, delivered }: CompletedPost) {
        let now = Instant::now();
        for part in &pending {
            self.queue.complete(part, now);
        }
        let Delivered {
            decided,
            stop,
            took,
        } = delivered;
        self.queue
            .limit_bytes(self.client.knowledge().max_bytes(now));
        self.metrics.record_knowledge(self.client.knowledge());
        let retry = stop.map(|stop| self.retry(stop, took, now));
        if retry.is_none() {
            self.concurrency.record_success(took);
            self.metrics.hold_status.set(0);
        }
        let is_undecided = |(part, decided): &(&PendingPart, &Decided)| {
            decided.series < part.part.series_meta.len()
        };
        if let Some(retry) = &retry {
            let parts = pending.iter().zip(&decided).filter(is_undecided);
            let returned = self
                .queue
                .return_followers(parts.map(|(part, _)| &part.part), retry);
            self.metrics.record_returned(returned);
        }
        for (part, decided) in pending.into_iter().zip(decided) {
            let retry = retry.as_ref().map(|retry| {
                // A longer timeout helps only the parts whose deadline has passed.
                let timed_out = retry.cause == RetryCause::DeadlineExceeded && part.deadline <= now;
                Retry {
                    slow: timed_out && self.health.is_slow(part.started),
                    ..retry.clone()
                }
            });
            let outcome = outcome(&part.part, decided, retry);
            self.metrics.record_outcome(&outcome, &part.part);
            // The receiver may be gone.
            let _ = part.reply.send(outcome);
        }
    }

    /// Adapts the concurrency to the cause that ended a delivery. Returns the retry of the
    /// parts that are not decided.
    fn retry(&mut self, stop: Stop, took: Duration, now: Instant) -> Retry {
        let is_hold = matches!(stop, Stop::Answered(Action::Hold { .. }));
        let (cause, settled, message) = match stop {
            Stop::Unfinished(message) => {
                self.concurrency.record_success(took);
                self.metrics.hold_status.set(0);
                // The next attempt continues where this one ended.
                return Retry {
                    cause: RetryCause::Unavailable,
                    after: Duration::ZERO,
                    settled: true,
                    slow: false,
                    message,
                };
            }
            Stop::Unanswered(error) => {
                self.concurrency.record_failure(took, None, now);
                let cause = match error {
                    PostError::DeadlineExceeded => RetryCause::DeadlineExceeded,
                    _ => RetryCause::Unavailable,
                };
                (cause, error.is_settled(), error.to_string())
            }
            Stop::Answered(Action::Throttled { after, message }) => {
                self.concurrency.record_failure(took, after, now);
                (RetryCause::Exhausted, true, message)
            }
            Stop::Answered(Action::Hold {
                status,
                message,
                refuses_empty,
            }) => {
                self.concurrency.record_hold(refuses_empty, now);
                self.metrics.hold_status.set(status.as_u16().into());
                (RetryCause::Unavailable, true, message)
            }
            Stop::Answered(Action::Failed { after, message }) => {
                self.concurrency.record_failure(took, after, now);
                (RetryCause::Unavailable, true, message)
            }
            // Answers about samples do not end a delivery.
            Stop::Answered(other) => {
                self.concurrency.record_failure(took, None, now);
                (RetryCause::Unavailable, true, format!("{other:?}"))
            }
        };
        let backoff = self.concurrency.backoff(now);
        warn!(error = %message, ?backoff, "Request failed; senders will retry");
        let knowledge = self.client.knowledge();
        knowledge.record_failure(message.clone(), is_hold);
        Retry {
            cause,
            after: backoff + jitter(backoff),
            settled,
            slow: false,
            message,
        }
    }
}

/// Outcome of a part. `retry` is set if series of its request are not decided.
fn outcome(part: &RequestPart, decided: Decided, retry: Option<Retry>) -> PartOutcome {
    match retry {
        Some(retry) if decided.series == 0 => PartOutcome::Retry(retry),
        Some(retry) if decided.series < part.series_meta.len() => {
            PartOutcome::Undecided { retry, decided }
        }
        _ if decided.verdict == Verdict::default() => PartOutcome::Stored,
        _ if decided.verdict.deduplicated == part.units => PartOutcome::Deduplicated,
        _ => PartOutcome::Rejected(decided.verdict),
    }
}
