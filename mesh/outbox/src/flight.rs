//! A flight: the batches of one Export, from its departure to its outcome.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::Code;

use mesh_contract::{
    export::{ExportError, Progress},
    report::{BatchOutcome, BatchRetry, ExportResponse},
    verdict::Verdict,
};

/// The batches of one Export. They have the same context and different keys.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) id: u64,
    /// Number of the route.
    pub(crate) route: usize,
    pub(crate) destination: Option<Arc<str>>,
    pub(crate) batches: Vec<FlightBatch>,
    /// Bytes of all payloads at the departure.
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// An Export in flight.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) timeout: Duration,
    pub(crate) destination: Option<Arc<str>>,
}

/// A batch in flight.
#[derive(Clone, Debug)]
pub(crate) struct FlightBatch {
    pub(crate) seq: u64,
    pub(crate) key: u64,
    pub(crate) samples: u64,
    pub(crate) progress: Progress,
}

/// Result of an Export.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) began: Instant,
    pub(crate) result: Result<ExportResponse, ExportError>,
}

/// Outcome of one batch of an Export.
#[derive(Debug)]
pub(crate) enum Landing {
    Verdict(Verdict),
    Retry(Failure),
}

/// Failure of an attempt at a batch.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Time of the next attempt at the earliest (law 3).
    pub(crate) retry_at: Instant,
    pub(crate) is_slow: bool,
    /// `true` if a running exporter did not respond in time.
    pub(crate) is_silent: bool,
    /// `true` if no part of the Export was sent.
    pub(crate) is_unsent: bool,
    /// `true` if the batches of the Export have to be sent one by one.
    pub(crate) must_split: bool,
    /// `true` if the exporter may have died of the Export.
    pub(crate) may_have_killed: bool,
    /// `true` if the connection broke during the Export.
    pub(crate) is_broken: bool,
    pub(crate) progress: Progress,
}

// === impl Flight ===

impl Flight {
    /// Returns the outcome of each batch.
    pub(crate) fn land(&self, arrival: Arrival) -> Vec<(FlightBatch, Landing)> {
        let deadline = arrival.began + self.timeout;
        let landings = match arrival.result {
            Ok(response) => self.verdicts(response, deadline),
            Err(error) => self.failures(&error, deadline),
        };
        self.batches.iter().cloned().zip(landings).collect()
    }

    fn verdicts(&self, mut response: ExportResponse, deadline: Instant) -> Vec<Landing> {
        // A stock OTLP server does not distinguish the batches.
        let is_joint = self.batches.len() == 1 || response.destinations.is_empty();
        if is_joint {
            let mut rest = response.verdict;
            let verdicts = self.batches.iter().map(|batch| rest.take(batch.samples));
            return verdicts.map(Landing::Verdict).collect();
        }
        let batches = (0..).zip(&self.batches);
        let landings = batches.map(|(index, batch)| match response.batches.remove(&index) {
            None => Landing::Verdict(Verdict::default()),
            Some(BatchOutcome::Verdict(mut verdict)) => {
                Landing::Verdict(verdict.take(batch.samples))
            }
            Some(BatchOutcome::Retry(retry)) => Landing::Retry(Failure::of(retry, deadline)),
        });
        landings.collect()
    }

    fn failures(&self, error: &ExportError, deadline: Instant) -> Vec<Landing> {
        let mut progress = error.report().progress.into_iter();
        let failure = Failure {
            retry_at: retry_at(error, deadline),
            is_slow: error.is_slow(),
            is_silent: matches!(
                error,
                ExportError::Unknown { code, .. } if *code == Code::DeadlineExceeded
            ),
            is_unsent: matches!(error, ExportError::Unsent(_)),
            must_split: error.must_split(),
            may_have_killed: error.may_have_killed(),
            is_broken: error.broke_connection(),
            progress: Progress::default(),
        };
        let failures = self.batches.iter().map(|_| {
            Landing::Retry(Failure {
                progress: progress.next().unwrap_or_default(),
                ..failure.clone()
            })
        });
        failures.collect()
    }
}

// === impl Failure ===

impl Failure {
    fn of(retry: BatchRetry, deadline: Instant) -> Self {
        let now = Instant::now();
        Self {
            retry_at: if retry.is_settled {
                now + retry.after
            } else {
                deadline.max(now + retry.after)
            },
            is_slow: retry.is_slow,
            is_silent: false,
            is_unsent: false,
            must_split: false,
            may_have_killed: false,
            is_broken: false,
            progress: retry.progress,
        }
    }
}

fn retry_at(error: &ExportError, deadline: Instant) -> Instant {
    match error {
        ExportError::Unsent(_) => Instant::now(),
        ExportError::Retry { after, .. } => Instant::now() + after.unwrap_or_default(),
        ExportError::Unknown { .. } => deadline,
    }
}
