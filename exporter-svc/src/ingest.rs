//! Handles Export requests.
//!
//! The exporter admits an Export if its bytes fit the memory budget of the process. It
//! translates the Export for every destination and passes the request parts to the
//! batchers. It replies after every part has an outcome, and keeps nothing afterwards
//! (law 4).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mesh_base::{
    backoff::jitter,
    budget::{Budget, Reservation},
};
use mesh_contract::{
    batch::{BatchContext, Origin},
    export::{Progress, parse_timeout},
};
use mesh_model::labels::Labels;
use mesh_wire::{otlp::split_resource_metrics, protobuf::Fields};
use parking_lot::RwLock;
use tokio::{sync::oneshot, time::Instant};
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use self::{
    metrics::Metrics,
    outcome::{ExportOutcome, PartReply},
    progress::DestinationProgress,
    resume::Resume,
};
use crate::{
    destination::Destination,
    memory::{ExportMemory, MemoryLimits, OutOfMemory},
    remote_write::{Retry, RetryCause, queue::PendingPart},
    translate::TranslateError,
};

pub mod metrics;
pub mod outcome;
pub mod progress;
pub mod resume;

/// Handles Exports for the configured destinations.
#[derive(Debug)]
pub struct Ingest {
    destinations: RwLock<Arc<Destinations>>,
    budget: Budget,
    limits: IngestLimits,
    metrics: Metrics,
}

/// Destinations of Exports, from the configuration file.
#[derive(Debug, Default)]
pub struct Destinations {
    /// Destinations, one per entry of `remote_write`.
    pub all: Vec<Destination>,
    /// `global.external_labels` of the exporter's own file, without the HA pair. The
    /// exporter adds them to pushed data, whose senders have no configuration file.
    pub external_labels: Labels,
}

/// Limits of Exports in flight.
#[derive(Clone, Copy, Debug)]
pub struct IngestLimits {
    /// Memory of Exports in flight, translated data included.
    pub memory: MemoryLimits,
    /// Timeout of an Export without a deadline.
    pub timeout: Duration,
}

/// Lower and upper bound of the reply margin: the time before the sender's deadline at
/// which the exporter replies. The margin is a twentieth of the timeout.
const MIN_MARGIN: Duration = Duration::from_millis(20);
const MAX_MARGIN: Duration = Duration::from_millis(500);
/// Bytes of a reference to one encoded resource, while the list of them grows.
const FRAME_BYTES: usize = 3 * size_of::<Bytes>();
/// Delay after which a sender may retry if the memory budget is exhausted.
const BUDGET_RETRY_DELAY: Duration = Duration::from_secs(1);

// === impl Ingest ===

impl Ingest {
    /// Creates a handler for these destinations.
    pub fn new(destinations: Destinations, limits: IngestLimits, metrics: Metrics) -> Self {
        Self {
            destinations: RwLock::new(Arc::new(destinations)),
            budget: Budget::new(limits.memory.all),
            limits,
            metrics,
        }
    }

    /// Replaces the destinations of all Exports that arrive later.
    pub fn replace(&self, destinations: Destinations) {
        *self.destinations.write() = Arc::new(destinations);
    }

    /// Logs the sample totals of all destinations.
    pub fn log_totals(&self) {
        for destination in &self.destinations().all {
            destination.metrics.log_totals();
        }
    }

    /// Handles one Export request.
    ///
    /// # Errors
    /// Returns an error status if the sender has to retry or the Export is malformed.
    pub async fn export(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.export_received(request, self.budget.empty_reservation())
            .await
    }

    /// Handles one Export request, whose bytes `reservation` covers already.
    ///
    /// # Errors
    /// Returns an error status like [`Self::export`].
    pub(crate) async fn export_received(
        &self,
        request: Request<Bytes>,
        reservation: Reservation,
    ) -> Result<Response<Bytes>, Status> {
        let started = Instant::now();
        let result = self.try_export(request, reservation, started).await;
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.record_reply(code, started.elapsed());
        self.record_in_flight();
        result
    }

    async fn try_export(
        &self,
        request: Request<Bytes>,
        reservation: Reservation,
        started: Instant,
    ) -> Result<Response<Bytes>, Status> {
        let deadline = started + timeout(request.metadata()).unwrap_or(self.limits.timeout);
        let context = BatchContext::read(request.metadata()).map_err(malformed)?;
        let mut progress = DestinationProgress::decode(&Progress::read(request.metadata()));
        let MemoryLimits { all, one } = self.limits.memory;
        let memory = ExportMemory::new(reservation, request.get_ref().len(), one.min(all));
        let mut memory = memory.map_err(out_of_memory)?;
        self.record_in_flight();
        let frames = Fields::new(request.get_ref()).count();
        memory.add(frames * FRAME_BYTES).map_err(out_of_memory)?;
        let resources = split_resource_metrics(request.get_ref()).map_err(malformed)?;
        let destinations = self.destinations();
        let context = Arc::new(destinations.with_external_labels(context));
        let mut pending = Vec::with_capacity(destinations.all.len());
        for destination in &destinations.all {
            if progress.is_complete(&destination.name) {
                continue;
            }
            let translated = destination
                .translator
                .translate_within(&context, &resources, memory);
            let (translated, used) = translated.map_err(|error| match error {
                TranslateError::Malformed(error) => malformed(error),
                TranslateError::OutOfMemory(error) => out_of_memory(error),
            })?;
            let resume = Resume::new(&translated.parts, progress.resume(&destination.name));
            pending.push((destination, translated, resume, Vec::new()));
            // The next destination's series use memory in addition.
            memory = used;
        }
        self.record_in_flight();
        let memory = Arc::new(memory);
        // Translates for all destinations before it passes on any part, so that a
        // malformed Export has no effect.
        for (destination, translated, resume, replies) in &mut pending {
            for (index, part) in translated.parts.drain(..).enumerate() {
                let Some((part, before)) = resume.rest(index, part) else {
                    continue;
                };
                let (reply, outcome) = oneshot::channel();
                let (context, memory) = (Arc::clone(&context), Arc::clone(&memory));
                let units = part.units;
                let pending_part = PendingPart {
                    part,
                    before,
                    context,
                    started,
                    deadline,
                    reply,
                    memory,
                };
                destination.batcher.push(pending_part).await;
                replies.push(PartReply {
                    index,
                    units,
                    outcome,
                });
            }
        }
        let mut all = Vec::with_capacity(pending.len() + 1);
        all.push(ExportOutcome::of_completed(&progress));
        for (destination, translated, mut resume, replies) in pending {
            let outcome = ExportOutcome::collect(translated, replies, &mut resume).await;
            if outcome.retry.is_some() {
                progress.record_partial(&destination.name, resume);
            } else {
                progress.record(&destination.name, &outcome.verdict);
                destination
                    .metrics
                    .record_local_rejections(&outcome.rejections, outcome.dropped);
            }
            all.push(outcome);
        }
        let units = all.iter().map(|outcome| outcome.units).max();
        self.metrics
            .record_received(context.origin, units.unwrap_or(0));
        ExportOutcome::merge(all).into_reply(&progress)
    }

    /// Counts an Export that was refused before it was handled.
    pub(crate) fn record_refusal(&self, status: &Status) {
        self.metrics.record_refusal(status.code());
        self.record_in_flight();
    }

    /// Returns a reservation of 0 bytes for an Export whose body is about to be read.
    pub(crate) fn empty_reservation(&self) -> Reservation {
        self.budget.empty_reservation()
    }

    pub(crate) fn record_in_flight(&self) {
        self.metrics.set_in_flight_bytes(self.budget.reserved());
    }

    /// Current destinations.
    pub fn destinations(&self) -> Arc<Destinations> {
        Arc::clone(&self.destinations.read())
    }
}

// === impl Destinations ===

impl Destinations {
    /// Adds the external labels of this exporter's file to the context of a push.
    fn with_external_labels(&self, context: BatchContext) -> BatchContext {
        if context.origin == Origin::Scrape {
            return context;
        }
        let own = self.external_labels.iter();
        let external_labels = own.chain(context.external_labels.iter()).collect();
        BatchContext {
            external_labels,
            ..context
        }
    }
}

/// Timeout that the sender gave, less the reply margin.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let timeout = parse_timeout(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    Some(timeout.saturating_sub((timeout / 20).clamp(MIN_MARGIN, MAX_MARGIN)))
}

/// Status of an Export for which too little memory is free now, or always.
pub(crate) fn out_of_memory(error: OutOfMemory) -> Status {
    if error == OutOfMemory::Always {
        return too_large(error);
    }
    retry_later(error.to_string())
}

/// Status of an Export beyond the maximum number in flight.
pub(crate) fn too_many_exports(limit: usize) -> Status {
    retry_later(format!(
        "{limit} Exports are in flight (--ingest.max-exports); retry later or on another exporter"
    ))
}

fn retry_later(message: String) -> Status {
    Retry {
        cause: RetryCause::Exhausted,
        after: BUDGET_RETRY_DELAY + jitter(BUDGET_RETRY_DELAY),
        settled: true,
        slow: false,
        message,
    }
    .status()
}

/// Status of an Export that no retry can repair. It is marked settled, so the sender
/// drops the batch.
fn malformed(error: impl std::fmt::Display) -> Status {
    let mut status = Status::invalid_argument(error.to_string());
    outcome::mark_settled(status.metadata_mut());
    status
}

/// Status of an Export that is larger than a limit. It is marked settled, so the sender drops
/// the batch.
pub(crate) fn too_large(error: impl std::fmt::Display) -> Status {
    let mut status = Status::out_of_range(error.to_string());
    outcome::mark_settled(status.metadata_mut());
    status
}

#[cfg(test)]
pub(crate) mod tests;
