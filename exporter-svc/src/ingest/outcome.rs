//! Outcome of an Export, merged from the outcomes of its request parts.

use std::time::Duration;

use bytes::Bytes;
use mesh_contract::{
    export::{Progress, SETTLED_KEY, SLOW_KEY},
    progress::DestinationProgress,
    report::{BatchOutcome, BatchRetry, ExportResponse},
    verdict::Verdict,
};
use tokio::sync::oneshot;
use tonic::{
    Code, Extensions, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt};

use super::{batch::CompletedBatch, resume::Resume};
use crate::{
    remote_write::{PartOutcome, Retry, RetryCause},
    translate::sink::Translated,
};

/// Outcome of an Export at one destination, or at all of them.
#[derive(Debug, Default)]
pub struct ExportOutcome {
    /// Number of samples in the Export, as the sender counts them.
    pub units: u64,
    /// Number of samples that write relabeling dropped.
    pub dropped: u64,
    /// Samples that the exporter rejected before sending.
    pub rejections: Verdict,
    /// Samples that were not stored: rejected or deduplicated, by the exporter or the
    /// backend.
    pub verdict: Verdict,
    /// Message of the first rejection.
    pub problem: Option<String>,
    /// Set if the sender has to retry the Export.
    pub retry: Option<Retry>,
}

/// Outcome of a part that is on its way.
#[derive(Debug)]
pub struct PartReply {
    /// Index of the part in the Export.
    pub index: usize,
    /// Number of samples in it.
    pub units: u64,
    /// Outcome of the part.
    pub outcome: oneshot::Receiver<PartOutcome>,
}

// === impl ExportOutcome ===

impl ExportOutcome {
    /// Outcome of the destinations that completed the Export in an earlier attempt.
    pub fn of_completed(progress: &DestinationProgress) -> Self {
        Self {
            verdict: progress.verdict().clone(),
            ..Self::default()
        }
    }

    /// Waits for the outcomes of all parts for one destination that `resume` has not
    /// decided, and records them there.
    pub async fn collect(
        translated: Translated,
        replies: Vec<PartReply>,
        resume: &mut Resume,
    ) -> Self {
        let mut verdict = translated.rejections.clone();
        verdict.merge(resume.verdict());
        let mut outcome = Self {
            units: translated.units,
            dropped: translated.dropped,
            verdict,
            rejections: translated.rejections,
            problem: translated.problem,
            retry: None,
        };
        for PartReply {
            index,
            units,
            outcome: reply,
        } in replies
        {
            match reply.await {
                Ok(part) => {
                    resume.record(index, &part, units);
                    outcome.add(part, units);
                }
                Err(_) => outcome.add_retry(Retry {
                    cause: RetryCause::Unavailable,
                    after: Duration::ZERO,
                    settled: false,
                    slow: false,
                    message: "the task that posts the request failed".to_owned(),
                }),
            }
        }
        outcome
    }

    /// Adds the outcome of a part with `units` samples.
    fn add(&mut self, part: PartOutcome, units: u64) {
        match part {
            PartOutcome::Stored => {}
            PartOutcome::Deduplicated => self.verdict.deduplicated += units,
            PartOutcome::Rejected(mut verdict) => {
                if let Some(message) = verdict.problem.take() {
                    self.problem.get_or_insert(message);
                }
                self.verdict.merge(&verdict);
            }
            PartOutcome::Retry(retry) | PartOutcome::Undecided { retry, .. } => {
                self.add_retry(retry);
            }
        }
    }

    /// Merges a retry. The worst cause wins, the longest delay applies, and the result
    /// is settled only if all retries are.
    fn add_retry(&mut self, retry: Retry) {
        self.retry = Some(match self.retry.take() {
            None => retry,
            Some(other) => {
                let after = retry.after.max(other.after);
                let settled = retry.settled && other.settled;
                let slow = retry.slow || other.slow;
                let worst_cause = if other.cause >= retry.cause {
                    other
                } else {
                    retry
                };
                Retry {
                    after,
                    settled,
                    slow,
                    ..worst_cause
                }
            }
        });
    }

    /// Merges the outcomes of all destinations. Takes the verdict of the destination
    /// that stored least, and any retry.
    pub fn merge(outcomes: Vec<Self>) -> Self {
        let not_stored =
            |outcome: &Self| outcome.verdict.rejected_total() + outcome.verdict.deduplicated;
        let mut worst = Self::default();
        for mut outcome in outcomes {
            let retry = outcome.retry.take();
            let mut merged = if not_stored(&outcome) >= not_stored(&worst) {
                let retry = worst.retry.take();
                Self { retry, ..outcome }
            } else {
                worst
            };
            if let Some(retry) = retry {
                merged.add_retry(retry);
            }
            worst = merged;
        }
        worst
    }

    /// Verdict with the message of the first rejection.
    fn into_verdict(self) -> Verdict {
        Verdict {
            problem: self.problem,
            ..self.verdict
        }
    }
}

/// Converts the outcomes of the batches to a gRPC response.
///
/// # Errors
/// Returns an error status if the sender has to retry all batches.
pub(super) fn reply(
    batches: Vec<CompletedBatch>,
    destinations: Vec<String>,
) -> Result<Response<Bytes>, Status> {
    if batches.iter().all(|batch| batch.outcome.retry.is_some()) {
        return Err(retry_all(batches));
    }
    let is_single = batches.len() == 1;
    let mut response = ExportResponse {
        destinations,
        ..ExportResponse::default()
    };
    for (index, CompletedBatch { outcome, progress }) in (0..).zip(batches) {
        let outcome = match outcome.retry {
            Some(retry) => BatchOutcome::Retry(retry.of_batch(&progress)),
            None => {
                let verdict = outcome.into_verdict();
                response.verdict.merge(&verdict);
                BatchOutcome::Verdict(verdict)
            }
        };
        let is_stored = outcome == BatchOutcome::Verdict(Verdict::default());
        if !is_single && !is_stored {
            response.batches.insert(index, outcome);
        }
    }
    let mut metadata = MetadataMap::new();
    let body = response.write(&mut metadata);
    Ok(Response::from_parts(metadata, body, Extensions::default()))
}

fn retry_all(batches: Vec<CompletedBatch>) -> Status {
    let (mut all, mut progress) = (ExportOutcome::default(), Vec::with_capacity(batches.len()));
    for batch in batches {
        progress.push(batch.progress.encode());
        if let Some(retry) = batch.outcome.retry {
            all.add_retry(retry);
        }
    }
    let mut status = all.retry.map_or_else(
        || Status::internal("an Export without batches"),
        Retry::status,
    );
    Progress::write(&progress, status.metadata_mut());
    status
}

// === impl Retry ===

impl Retry {
    /// Converts the retry to that of one batch.
    fn of_batch(self, progress: &DestinationProgress) -> BatchRetry {
        BatchRetry {
            after: self.after,
            is_settled: self.settled,
            is_slow: self.slow,
            message: self.message,
            progress: progress.encode(),
        }
    }

    /// Converts the retry to a gRPC status with `RetryInfo`.
    pub fn status(self) -> Status {
        let code = match self.cause {
            RetryCause::Unavailable => Code::Unavailable,
            RetryCause::Exhausted => Code::ResourceExhausted,
            RetryCause::DeadlineExceeded => Code::DeadlineExceeded,
        };
        let mut metadata = MetadataMap::new();
        if self.settled {
            mark_settled(&mut metadata);
        }
        if self.slow {
            metadata.insert(SLOW_KEY, MetadataValue::from_static("1"));
        }
        let details = ErrorDetails::with_retry_info(Some(self.after));
        Status::with_error_details_and_metadata(code, self.message, details, metadata)
    }
}

/// Marks a status as settled: no part of the Export is in flight any more.
pub fn mark_settled(metadata: &mut MetadataMap) {
    metadata.insert(SETTLED_KEY, MetadataValue::from_static("1"));
}

#[cfg(test)]
mod tests {
    use mesh_contract::verdict::Reason;

    use super::*;

    fn retry(cause: RetryCause, settled: bool, secs: u64) -> Retry {
        let after = Duration::from_secs(secs);
        Retry {
            cause,
            after,
            settled,
            slow: false,
            message: format!("{cause:?}"),
        }
    }

    fn rejected(reason: Reason, units: u64) -> ExportOutcome {
        let mut outcome = ExportOutcome {
            units: 10,
            ..Default::default()
        };
        outcome.verdict.reject(reason, units);
        outcome.problem = Some(reason.as_str().to_owned());
        outcome
    }

    fn completed(outcome: ExportOutcome) -> CompletedBatch {
        CompletedBatch {
            outcome,
            progress: DestinationProgress::default(),
        }
    }

    fn retried(retry: Retry) -> ExportOutcome {
        ExportOutcome {
            retry: Some(retry),
            ..ExportOutcome::default()
        }
    }

    fn response(outcomes: Vec<ExportOutcome>) -> ExportResponse {
        let batches = outcomes.into_iter().map(completed).collect();
        let (metadata, body, _) = reply(batches, Vec::new()).unwrap().into_parts();
        ExportResponse::read(&metadata, body)
    }

    #[test]
    fn merged_retries_have_the_worst_cause_and_longest_delay() {
        let retries = [
            retry(RetryCause::Unavailable, true, 5),
            retry(RetryCause::DeadlineExceeded, false, 1),
            retry(RetryCause::Exhausted, true, 2),
        ];
        let batches = retries.map(|retry| completed(retried(retry))).into();
        let status = reply(batches, Vec::new()).unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(!status.metadata().contains_key(SETTLED_KEY));
        let after = mesh_contract::export::retry_delay(status.details());
        assert_eq!(after, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_settled_retry_has_the_settled_key() {
        let status = retry(RetryCause::Exhausted, true, 1).status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.metadata().contains_key(SETTLED_KEY));
    }

    #[test]
    fn each_batch_has_its_own_outcome() {
        let retry = retry(RetryCause::Unavailable, true, 1);
        let response = response(vec![
            ExportOutcome::default(),
            rejected(Reason::TooOld, 3),
            retried(retry.clone()),
            rejected(Reason::SeriesLimit, 2),
        ]);
        let expected = [(Reason::TooOld, 3), (Reason::SeriesLimit, 2)];
        assert_eq!(response.verdict.rejected, expected);
        assert_eq!(response.verdict.problem.as_deref(), Some("too_old"));
        let verdict = |outcome: &BatchOutcome| match outcome {
            BatchOutcome::Verdict(verdict) => verdict.problem.clone(),
            BatchOutcome::Retry(retry) => Some(retry.message.clone()),
        };
        let batches = response.batches.iter();
        let batches: Vec<_> = batches.map(|(i, it)| (*i, verdict(it).unwrap())).collect();
        let expected = [
            (1, "too_old".to_owned()),
            (2, retry.message),
            (3, "series_limit".to_owned()),
        ];
        assert_eq!(batches, expected);
    }

    #[test]
    fn the_only_batch_is_not_listed() {
        let response = response(vec![rejected(Reason::TooOld, 3)]);
        assert_eq!(response.verdict.rejected, [(Reason::TooOld, 3)]);
        assert!(response.batches.is_empty());
    }

    #[test]
    fn merged_outcome_has_the_worst_verdict() {
        let outcomes = vec![
            rejected(Reason::TooOld, 3),
            rejected(Reason::SeriesLimit, 5),
            rejected(Reason::TooOld, 1),
        ];
        let all = ExportOutcome::merge(outcomes);
        assert_eq!(all.verdict.rejected, [(Reason::SeriesLimit, 5)]);
    }

    #[test]
    fn a_retry_of_one_destination_makes_the_export_retry() {
        let failed = retried(retry(RetryCause::Unavailable, true, 1));
        let outcomes = vec![
            rejected(Reason::TooOld, 3),
            failed,
            rejected(Reason::TooOld, 9),
        ];
        let batches = vec![completed(ExportOutcome::merge(outcomes))];
        assert!(reply(batches, Vec::new()).is_err());
    }
}
