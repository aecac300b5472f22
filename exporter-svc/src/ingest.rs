//! Takes Exports and answers them.
//!
//! An Export is admitted while its bytes fit the process' budget, translated for
//! every destination, handed over to the joiners, and answered once all pieces of
//! it have an outcome. Nothing is kept beyond that (law 4).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use mesh::{
    batch::{Facts, Origin},
    export::{Progress, parse_timeout},
    labels::Labels,
    otlp::split_resource_metrics,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use self::{answer::Answer, metrics::Metrics, spoken::Spoken};
use crate::remote_write::{Cause, Retry, destination::Destination, pace::jitter, queue::Work};

pub mod answer;
pub mod metrics;
pub mod spoken;

/// Takes Exports for the destinations of the configuration.
#[derive(Debug)]
pub struct Ingest {
    destinations: RwLock<Arc<Destinations>>,
    /// Kibibytes of Exports that may be under way.
    budget: Arc<Semaphore>,
    limits: IngestLimits,
    metrics: Metrics,
}

/// Where Exports go, as the configuration file says.
#[derive(Debug, Default)]
pub struct Destinations {
    /// The entries of `remote_write`.
    pub all: Vec<Destination>,
    /// `global.external_labels` of the exporter's own file, without the HA pair:
    /// added to pushed data, whose senders have no file.
    pub external_labels: Labels,
}

/// What Exports may cost.
#[derive(Clone, Copy, Debug)]
pub struct IngestLimits {
    /// Bytes of Exports under way, translated ones included.
    pub budget: usize,
    /// How long an Export without a deadline may take.
    pub timeout: Duration,
}

/// Encoded series and their marks need about this many times the Export's bytes.
const EXPANSION: usize = 3;
/// An answer has to be on its way this long before the sender gives up: a
/// twentieth of the time, within these bounds.
const MIN_MARGIN: Duration = Duration::from_millis(20);
const MAX_MARGIN: Duration = Duration::from_millis(500);
/// When to come back to a process that has no room.
const ROOM: Duration = Duration::from_secs(1);

// === impl Ingest ===

impl Ingest {
    /// Takes Exports for these destinations.
    pub fn new(destinations: Destinations, limits: IngestLimits, metrics: Metrics) -> Self {
        Self {
            destinations: RwLock::new(Arc::new(destinations)),
            budget: Arc::new(Semaphore::new(limits.budget / 1024)),
            limits,
            metrics,
        }
    }

    /// Sends Exports that come from now on to other destinations.
    pub fn replace(&self, destinations: Destinations) {
        let mut current = self
            .destinations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(destinations);
    }

    /// Logs what became of all samples.
    pub fn log_ledger(&self) {
        for destination in &self.destinations().all {
            destination.metrics.log_ledger();
        }
    }

    /// Answers one Export.
    ///
    /// # Errors
    /// Where there is no verdict.
    pub async fn export(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let started = Instant::now();
        let answer = self.try_export(request, started).await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.answered(code, started.elapsed());
        self.show_room();
        answer
    }

    async fn try_export(
        &self,
        request: Request<Bytes>,
        started: Instant,
    ) -> Result<Response<Bytes>, Status> {
        let deadline = started + timeout(request.metadata()).unwrap_or(self.limits.timeout);
        let facts = Facts::read(request.metadata()).map_err(malformed)?;
        let mut spoken = Spoken::read(&Progress::read(request.metadata()));
        let permit = self.admit(request.get_ref().len())?;
        self.show_room();
        let resources = split_resource_metrics(request.get_ref()).map_err(malformed)?;
        let destinations = self.destinations();
        let facts = Arc::new(destinations.complete(facts));
        let mut pending = Vec::with_capacity(destinations.all.len());
        for destination in &destinations.all {
            if spoken.has(&destination.name) {
                continue;
            }
            let translated = destination.translator.translate(&facts, &resources);
            pending.push((destination, translated.map_err(malformed)?, Vec::new()));
        }
        // Everything is translated before anything is handed over, so that a
        // malformed Export leaves no trace.
        for (destination, translated, replies) in &mut pending {
            for piece in translated.pieces.drain(..) {
                let (reply, outcome) = oneshot::channel();
                let (facts, permit) = (Arc::clone(&facts), Arc::clone(&permit));
                let units = piece.units;
                let work = Work {
                    piece,
                    facts,
                    started,
                    deadline,
                    reply,
                    permit,
                };
                destination.joiner.join(work).await;
                replies.push((units, outcome));
            }
        }
        let mut all = Vec::with_capacity(pending.len() + 1);
        all.push(spoken.answer());
        for (destination, translated, replies) in pending {
            let answer = Answer::gather(translated, replies).await;
            if answer.retry.is_none() {
                spoken.note(&destination.name, &answer);
                destination
                    .metrics
                    .withheld(&answer.refused, answer.dropped);
            }
            all.push(answer);
        }
        let units = all.iter().map(|answer| answer.units).max();
        self.metrics.received(facts.origin, units.unwrap_or(0));
        let answer = Answer::of_all(all);
        answer.response(&spoken)
    }

    /// Takes room for an Export of this many bytes.
    fn admit(&self, len: usize) -> Result<Arc<OwnedSemaphorePermit>, Status> {
        let all = self.limits.budget / 1024;
        // One that is larger than all the room there is may have all of it.
        let wanted = (len.saturating_mul(EXPANSION) / 1024 + 1).min(all);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget);
        budget
            .try_acquire_many_owned(wanted)
            .map(Arc::new)
            .map_err(|_| {
                Retry {
                    cause: Cause::Exhausted,
                    after: ROOM + jitter(ROOM),
                    settled: true,
                    slow: false,
                    message: "the exporter has no room for more; try another".to_owned(),
                }
                .status()
            })
    }

    fn show_room(&self) {
        let free = self.budget.available_permits() * 1024;
        self.metrics
            .in_flight(self.limits.budget.saturating_sub(free));
    }

    fn destinations(&self) -> Arc<Destinations> {
        let current = self
            .destinations
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

// === impl Destinations ===

impl Destinations {
    /// Adds the external labels of this exporter's file to the facts of a push.
    fn complete(&self, facts: Facts) -> Facts {
        if facts.origin == Origin::Scrape {
            return facts;
        }
        let own = self.external_labels.iter();
        let external_labels = own.chain(facts.external_labels.iter()).collect();
        Facts {
            external_labels,
            ..facts
        }
    }
}

/// The time an Export has, less what its answer takes.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let timeout = parse_timeout(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    Some(timeout.saturating_sub((timeout / 20).clamp(MIN_MARGIN, MAX_MARGIN)))
}

/// Bytes that no retry will mend: our word for it is terminal.
fn malformed(error: impl std::fmt::Display) -> Status {
    let mut status = Status::invalid_argument(error.to_string());
    answer::vouch(status.metadata_mut());
    status
}

#[cfg(test)]
pub(crate) mod tests;
