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
    export::{Progress, mark_split, parse_timeout},
    progress::DestinationProgress,
    report::{BatchSizes, is_separable, read_destination, write_destinations},
};
use mesh_model::labels::Labels;
use parking_lot::RwLock;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use self::{
    batch::{PendingBatch, Post},
    metrics::Metrics,
};
use crate::{
    destination::Destination,
    memory::{EXPANSION, ExportMemory, MemoryLimits, OutOfMemory},
    remote_write::{Retry, RetryCause},
    share::TakenShare,
    translate::TranslateError,
};

mod batch;
pub mod metrics;
pub mod outcome;
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
    /// `global.external_labels` of the exporter's own file, without `__replica__`. The
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
/// Delay after which a sender may retry if the memory budget is exhausted.
const BUDGET_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Delay after which a sender may retry if this exporter lacks the destination.
const UNKNOWN_DESTINATION_DELAY: Duration = Duration::from_secs(1);

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
        let destinations = self.destinations();
        let reply = self.export_to(&destinations, request, reservation, started);
        let reply = reply.await;
        reply.map_err(|mut status| {
            write_destinations(&destinations.names(), status.metadata_mut());
            status
        })
    }

    async fn export_to(
        &self,
        destinations: &Destinations,
        request: Request<Bytes>,
        reservation: Reservation,
        started: Instant,
    ) -> Result<Response<Bytes>, Status> {
        let metadata = request.metadata();
        let deadline = started + timeout(metadata).unwrap_or(self.limits.timeout);
        let context = BatchContext::read(metadata).map_err(malformed)?;
        let context = Arc::new(destinations.with_external_labels(context));
        let selected = destinations.select(read_destination(metadata))?;
        if selected.len() > 1 && is_separable(metadata) {
            return Err(destinations.ask_for_separate_exports());
        }
        let _share = self.take_share(destinations, &selected, request.get_ref().len())?;
        let mut progress = Progress::read(metadata).into_iter();
        let payloads = BatchSizes::split(metadata, request.get_ref()).map_err(malformed)?;
        let MemoryLimits { all, one } = self.limits.memory;
        let memory = ExportMemory::new(reservation, request.get_ref().len(), one.min(all));
        let mut memory = memory.map_err(out_of_memory)?;
        if payloads.len() > 1 {
            memory = memory.joint();
        }
        self.record_in_flight();
        // Translates everything before it passes on any part, so that an Export for which
        // the memory is too short has no effect.
        let mut batches = Vec::with_capacity(payloads.len());
        for payload in &payloads {
            let progress = DestinationProgress::decode(&progress.next().unwrap_or_default());
            let mut batch = PendingBatch::new(progress);
            let (translated, used) = batch.translate(&selected, &context, payload, memory);
            memory = used;
            match translated {
                Ok(()) => {}
                Err(TranslateError::OutOfMemory(error)) => return Err(out_of_memory(error)),
                // An Export of one batch is malformed as a whole.
                Err(TranslateError::Malformed(error)) if payloads.len() == 1 => {
                    return Err(malformed(error));
                }
                Err(TranslateError::Malformed(error)) => batch = PendingBatch::malformed(&error),
            }
            batches.push(batch);
        }
        self.record_in_flight();
        let post = Post {
            context: context.clone(),
            memory: Arc::new(memory),
            started,
            deadline,
        };
        for batch in &mut batches {
            batch.push(&post).await;
        }
        let (mut outcomes, mut units) = (Vec::with_capacity(batches.len()), 0);
        for batch in batches {
            let outcome = batch.outcome().await;
            units += outcome.outcome.units;
            outcomes.push(outcome);
        }
        self.metrics.record_received(context.origin, units);
        outcome::reply(outcomes, destinations.names())
    }

    /// Takes the bytes of an Export to one of several destinations from its share of the memory.
    ///
    /// # Errors
    /// Returns an error status if the destination has its share in flight already.
    fn take_share(
        &self,
        destinations: &Destinations,
        selected: &[&Destination],
        bytes: usize,
    ) -> Result<Option<TakenShare>, Status> {
        let [only] = selected else {
            return Ok(None);
        };
        if destinations.all.len() < 2 {
            return Ok(None);
        }
        let limit = self.limits.memory.all / EXPANSION / destinations.all.len();
        let taken = only.share.take(bytes, limit);
        let refused = || {
            retry_later(format!(
                "destination {} has its share of the memory in flight, {limit} bytes of Exports \
                 (--ingest.max-bytes); retry later or on another exporter",
                only.name
            ))
        };
        taken.map(Some).ok_or_else(refused)
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
    /// Names of all destinations.
    fn names(&self) -> Vec<String> {
        let names = self.all.iter().map(|destination| destination.name.clone());
        names.collect()
    }

    /// Selects the only destination of an Export, or all.
    ///
    /// # Errors
    /// Returns an error status if there is no such destination. Another exporter may have
    /// it: a reload reaches exporters at different times.
    fn select(&self, only: Option<String>) -> Result<Vec<&Destination>, Status> {
        let Some(only) = only else {
            return Ok(self.all.iter().collect());
        };
        let destination = self.all.iter().find(|it| it.name == only);
        let destination = destination.ok_or_else(|| {
            Retry {
                cause: RetryCause::Unavailable,
                after: UNKNOWN_DESTINATION_DELAY,
                settled: true,
                slow: false,
                message: format!(
                    "remote_write has no destination {only:?} at this exporter; it has {}",
                    self.names().join(", ")
                ),
            }
            .status()
        })?;
        Ok(vec![destination])
    }

    /// Status of an Export to all destinations whose sender can send a separate one to each. Its
    /// metadata names them. Otherwise a destination that hangs would delay the others.
    fn ask_for_separate_exports(&self) -> Status {
        Retry {
            cause: RetryCause::Unavailable,
            after: Duration::ZERO,
            settled: true,
            slow: false,
            message: format!(
                "remote_write has {} destinations at this exporter; send a separate Export to each",
                self.all.len()
            ),
        }
        .status()
    }

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
    match error {
        OutOfMemory::Always => too_large(error),
        OutOfMemory::Now => retry_later(error.to_string()),
        OutOfMemory::Joint => {
            let mut status = retry_later(error.to_string());
            mark_split(status.metadata_mut());
            status
        }
    }
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
