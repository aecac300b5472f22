//! One task per destination that joins pieces into requests and answers them.
//!
//! It owns the destination's [`Queue`] and [`Pace`]; a request is compressed,
//! signed and posted by a task of its own.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use mesh::verdict::Reason;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tracing::{Instrument, debug, warn};

use super::{
    Cause, Outcome, Retry, attribution,
    client::{Client, PostError},
    metadata::Noted,
    metrics::Metrics,
    pace::{Pace, PaceLimits, jitter},
    piece::RequestLimits,
    probe::Pulse,
    queue::{Queue, Work},
    verdict::Answer,
};

/// How a destination's requests are made.
#[derive(Clone, Copy, Debug)]
pub struct JoinConfig {
    /// How large requests become.
    pub limits: RequestLimits,
    /// How long a piece waits for others to join it.
    pub linger: Duration,
    /// How many requests are in flight, and how it backs off.
    pub pace: PaceLimits,
    /// How long one post may take.
    pub timeout: Duration,
    /// How often metadata is sent, where it is at all.
    pub metadata: Option<Duration>,
    /// Families of one such request at most.
    pub metadata_per_send: usize,
}

/// Takes pieces for one destination; the task ends once all clones are dropped
/// and everything is answered.
#[derive(Clone, Debug)]
pub struct Joiner(mpsc::Sender<Work>);

/// The task behind a [`Joiner`].
#[derive(Debug)]
struct Task {
    client: Arc<Client>,
    config: JoinConfig,
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
    queue: Queue,
    pace: Pace,
    posts: JoinSet<Posted>,
    noted: Noted,
}

/// A request that was answered, or not.
#[derive(Debug)]
struct Posted {
    works: Vec<Work>,
    took: Duration,
    answer: Result<(StatusCode, Answer), PostError>,
}

/// Pieces handed over and not yet seen by the task. The bytes they hold are
/// bounded where Exports are admitted.
const HANDOVER: usize = 64;
/// Metadata is sent this soon after the start, and then every interval.
const FIRST_METADATA: Duration = Duration::from_secs(5);
/// How often pieces whose time ran out, or whose sender has left, are looked for.
const SWEEP: Duration = Duration::from_millis(100);

// === impl Joiner ===

impl Joiner {
    /// Starts the task of one destination.
    pub fn spawn(client: Arc<Client>, config: JoinConfig, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(HANDOVER);
        let span = tracing::info_span!("remote_write", destination = client.name());
        let pulse = Pulse::new(Arc::clone(&client), Arc::clone(&metrics));
        let task = Task {
            pulse: Arc::new(pulse),
            queue: Queue::new(config.limits, config.linger),
            pace: Pace::new(config.pace),
            posts: JoinSet::new(),
            noted: Noted::default(),
            client,
            config,
            metrics,
        };
        tokio::spawn(task.run(receiver).instrument(span));
        Self(sender)
    }

    /// Hands a piece over; its outcome comes through [`Work::reply`].
    pub async fn join(&self, work: Work) {
        // The task ends only after all senders are dropped; should it ever be
        // gone, the dropped reply tells.
        let _ = self.0.send(work).await;
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self, mut pieces: mpsc::Receiver<Work>) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = self.config.metadata.unwrap_or(Duration::MAX);
        let mut metadata = Instant::now() + every.min(FIRST_METADATA);
        let mut open = true;
        while open || !self.queue.is_empty() || !self.posts.is_empty() {
            let due = self.queue.due(Instant::now());
            tokio::select! {
                // Answers and what is due come first: they are few, and a flood
                // of new pieces must delay neither.
                biased;
                Some(posted) = self.posts.join_next() => match posted {
                    Ok(posted) => self.settle(posted),
                    Err(error) => warn!(%error, "A post panicked"),
                },
                _ = sweep.tick() => self.sweep(),
                () = tokio::time::sleep_until(metadata), if self.config.metadata.is_some() => {
                    metadata = Instant::now() + every;
                    self.post_metadata();
                }
                work = pieces.recv(), if open => match work {
                    Some(work) => self.push(work),
                    None => open = false,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.post_what_is_ready(!open);
        }
    }

    fn push(&mut self, work: Work) {
        if self.config.metadata.is_some() && !self.client.speaks_v2() {
            self.noted.note(&work.piece.families);
        }
        self.queue.push(work, Instant::now());
    }

    /// Posts what families said of themselves since the last time. Nobody waits for
    /// it: what is lost comes again with their next series.
    fn post_metadata(&mut self) {
        let deadline = Instant::now() + self.config.timeout;
        let (client, requests) = (
            Arc::clone(&self.client),
            self.noted.take(self.config.metadata_per_send),
        );
        let post = async move {
            for families in requests {
                let answer = client.post_metadata(&families, deadline).await;
                match answer.map(|(_, answer)| answer) {
                    Ok(Answer::Stored | Answer::Deduplicated) => {}
                    Ok(answer) => debug!(?answer, "Metadata not stored"),
                    Err(error) => debug!(%error, "Metadata not sent"),
                }
            }
        };
        tokio::spawn(post.in_current_span());
    }

    /// Posts as many requests as are ready and the pace allows.
    fn post_what_is_ready(&mut self, flush: bool) {
        let now = Instant::now();
        self.metrics.window.set(self.pace.window() as i64);
        if !self.pace.allows(self.posts.len(), now) {
            return self.turn_away(now);
        }
        while self.pace.allows(self.posts.len(), now) {
            let Some(works) = self.queue.take(now, flush) else {
                break;
            };
            self.post(works, now);
        }
        self.metrics.in_flight.set(self.posts.len() as i64);
    }

    fn post(&mut self, works: Vec<Work>, now: Instant) {
        let (client, timeout) = (Arc::clone(&self.client), self.config.timeout);
        let pulse = Arc::clone(&self.pulse);
        let asked = works.iter().map(|work| work.deadline).min();
        let deadline = asked.unwrap_or(now).min(now + timeout);
        self.metrics.requested(works.iter().map(|work| &work.piece));
        let post = async move {
            let started = Instant::now();
            let pieces: Vec<_> = works.iter().map(|work| &work.piece).collect();
            let answer = tokio::select! {
                biased;
                answer = client.post(&pieces, deadline) => answer,
                never = pulse.watch(deadline - now) => match never {},
            };
            let took = started.elapsed();
            if answer.is_ok() {
                pulse.answered(took);
            }
            Posted {
                works,
                took,
                answer,
            }
        };
        self.posts.spawn(post.in_current_span());
    }

    /// Answers the pieces that will not be posted in time.
    fn sweep(&mut self) {
        let (now, needed) = (Instant::now(), self.pace.needed());
        let pulse = &self.pulse;
        let returned = self.queue.sweep(|work| {
            let late = work.deadline < now + needed || work.reply.is_closed();
            late.then(|| {
                let message = "the deadline is too near to start a post".to_owned();
                Outcome::Retry(Retry {
                    cause: Cause::Unavailable,
                    after: Duration::ZERO,
                    settled: true,
                    slow: pulse.is_slow(work.started),
                    message,
                })
            })
        });
        self.metrics.returned(returned);
    }

    /// While nothing may be posted, answers the pieces whose deadline comes
    /// before that is over.
    fn turn_away(&mut self, now: Instant) {
        let hold = self.pace.hold(now);
        if hold.is_zero() {
            return;
        }
        let again = now + hold + self.pace.needed();
        let returned = self.queue.sweep(|work| {
            (work.deadline < again).then(|| {
                Outcome::Retry(Retry {
                    cause: Cause::Exhausted,
                    after: hold + jitter(hold),
                    settled: true,
                    slow: false,
                    message: "the destination is backing off".to_owned(),
                })
            })
        });
        self.metrics.returned(returned);
    }

    /// Answers the pieces of a request.
    fn settle(&mut self, posted: Posted) {
        let Posted {
            works,
            took,
            answer,
        } = posted;
        for work in &works {
            self.queue.landed(&work.piece);
        }
        self.metrics.answered(&answer, took);
        let outcomes = self.outcomes(&works, took, answer);
        for (work, outcome) in works.into_iter().zip(outcomes) {
            self.metrics.settled(&outcome, &work.piece);
            // Whoever asked may have left.
            let _ = work.reply.send(outcome);
        }
    }

    fn outcomes(
        &mut self,
        works: &[Work],
        took: Duration,
        answer: Result<(StatusCode, Answer), PostError>,
    ) -> Vec<Outcome> {
        let now = Instant::now();
        let status = answer.as_ref().ok().map(|(status, _)| *status);
        let (cause, after, settled, message) = match answer.map(|(_, answer)| answer) {
            Ok(Answer::Stored) => {
                self.pace.succeeded(took);
                return vec![Outcome::Stored; works.len()];
            }
            Ok(Answer::Deduplicated) => {
                self.pace.succeeded(took);
                return vec![Outcome::Deduplicated; works.len()];
            }
            Ok(Answer::Rejected {
                reason,
                count,
                message,
            }) => {
                warn!(reason = reason.as_str(), %message, "Refused for good");
                let pieces = works.iter().map(|work| &work.piece);
                let units = attribution::refused(pieces.clone(), reason, count, &message);
                let all = units.iter().sum::<u64>() >= pieces.map(|piece| piece.units).sum();
                let unexplained = matches!(reason, Reason::Refused | Reason::TooLarge);
                // A success that counts nothing as written is not a refusal to pace.
                let refused = status.is_some_and(|status| status.is_client_error());
                match all && unexplained && refused {
                    true => self.pace.refused(took, now),
                    false => self.pace.succeeded(took),
                }
                let rejected = |units| match units {
                    0 => Outcome::Stored,
                    _ => Outcome::Rejected {
                        reason,
                        units,
                        message: message.clone(),
                    },
                };
                return units.into_iter().map(rejected).collect();
            }
            Ok(Answer::Throttled { after, message }) => (Cause::Exhausted, after, true, message),
            Ok(Answer::Failed { after, message }) => (Cause::Unavailable, after, true, message),
            Ok(Answer::Forbidden { message }) => (Cause::Unavailable, None, true, message),
            Err(error) => {
                let cause = match error {
                    PostError::DeadlineExceeded => Cause::DeadlineExceeded,
                    _ => Cause::Unavailable,
                };
                (cause, None, error.is_settled(), error.to_string())
            }
        };
        self.pace.failed(took, after, now);
        let hold = self.pace.hold(now);
        warn!(%message, backoff = ?hold, "Not delivered");
        let after = hold + jitter(hold);
        let retry = Retry {
            cause,
            after,
            settled,
            slow: false,
            message,
        };
        let pieces = works.iter().map(|work| &work.piece);
        self.metrics
            .returned(self.queue.fail_followers(pieces, &retry));
        // More time helps only who had no more.
        let had_all = |work: &Work| cause == Cause::DeadlineExceeded && work.deadline <= now;
        let retries = works.iter().map(|work| {
            Outcome::Retry(Retry {
                slow: had_all(work) && self.pulse.is_slow(work.started),
                ..retry.clone()
            })
        });
        retries.collect()
    }
}
