//! What an Export is answered, from the outcomes of its pieces.

use std::time::Duration;

use bytes::Bytes;
use mesh::{
    export::{SETTLED_KEY, SLOW_KEY, retry_info},
    verdict::Verdict,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message;
use tokio::sync::oneshot;
use tonic::{
    Code, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::spoken::Spoken;
use crate::{
    remote_write::{Cause, Outcome, Retry},
    translate::sink::Translated,
};

/// What one destination, or all of them, made of an Export.
#[derive(Debug, Default)]
pub struct Answer {
    /// What the Export held, in units of the sender's ledger.
    pub units: u64,
    /// How many of them relabeling dropped.
    pub dropped: u64,
    /// What was refused here, before anything was sent.
    pub refused: Verdict,
    /// What was not stored, for whatever reason.
    pub verdict: Verdict,
    /// Why, in words, where anything was rejected.
    pub problem: Option<String>,
    /// Set where the Export has to come again.
    pub retry: Option<Retry>,
}

// === impl Answer ===

impl Answer {
    /// Waits for the outcomes of all pieces for one destination, given with the
    /// units each holds.
    pub async fn gather(
        translated: Translated,
        replies: Vec<(u64, oneshot::Receiver<Outcome>)>,
    ) -> Self {
        let mut answer = Self {
            units: translated.units,
            dropped: translated.dropped,
            verdict: translated.refused.clone(),
            refused: translated.refused,
            problem: translated.problem,
            retry: None,
        };
        for (units, reply) in replies {
            match reply.await {
                Ok(outcome) => answer.add(outcome, units),
                Err(_) => answer.come_again(Retry {
                    cause: Cause::Unavailable,
                    after: Duration::ZERO,
                    settled: false,
                    slow: false,
                    message: "a post failed in an unexpected way".to_owned(),
                }),
            }
        }
        answer
    }

    /// Adds the outcome of a piece that holds `units`.
    fn add(&mut self, outcome: Outcome, units: u64) {
        match outcome {
            Outcome::Stored => {}
            Outcome::Deduplicated => self.verdict.deduplicated += units,
            Outcome::Rejected {
                reason,
                units,
                message,
            } => {
                self.verdict.reject(reason, units);
                self.problem.get_or_insert(message);
            }
            Outcome::Retry(retry) => self.come_again(retry),
        }
    }

    /// Of several reasons to come again the gravest is told; all have to be over.
    fn come_again(&mut self, retry: Retry) {
        self.retry = Some(match self.retry.take() {
            None => retry,
            Some(other) => {
                let after = retry.after.max(other.after);
                let settled = retry.settled && other.settled;
                let slow = retry.slow || other.slow;
                let gravest = if other.cause >= retry.cause {
                    other
                } else {
                    retry
                };
                Retry {
                    after,
                    settled,
                    slow,
                    ..gravest
                }
            }
        });
    }

    /// One answer for all destinations: that of the one that stored least, or
    /// what any of them has to say to the sender's coming again.
    pub fn of_all(answers: Vec<Self>) -> Self {
        let lost = |answer: &Self| answer.verdict.rejected_total() + answer.verdict.deduplicated;
        let mut worst = Self::default();
        for mut answer in answers {
            let retry = answer.retry.take();
            let mut kept = if lost(&answer) >= lost(&worst) {
                let retry = worst.retry.take();
                Self { retry, ..answer }
            } else {
                worst
            };
            if let Some(retry) = retry {
                kept.come_again(retry);
            }
            worst = kept;
        }
        worst
    }

    /// The gRPC answer; where the Export has to come again, with who has spoken.
    ///
    /// # Errors
    /// Where the Export has to come again.
    pub fn response(self, spoken: &Spoken) -> Result<Response<Bytes>, Status> {
        if let Some(retry) = self.retry {
            let mut status = retry.status();
            spoken.progress().write(status.metadata_mut());
            return Err(status);
        }
        let rejected = self.verdict.rejected_total();
        let partial_success = (rejected > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: self.problem.unwrap_or_default(),
        });
        let body = ExportMetricsServiceResponse { partial_success };
        let mut response = Response::new(Bytes::from(body.encode_to_vec()));
        self.verdict.write(response.metadata_mut());
        Ok(response)
    }
}

// === impl Retry ===

impl Retry {
    /// The status that tells a sender to come again.
    pub fn status(self) -> Status {
        let code = match self.cause {
            Cause::Unavailable => Code::Unavailable,
            Cause::Exhausted => Code::ResourceExhausted,
            Cause::DeadlineExceeded => Code::DeadlineExceeded,
        };
        let mut metadata = MetadataMap::new();
        if self.settled {
            vouch(&mut metadata);
        }
        if self.slow {
            metadata.insert(SLOW_KEY, MetadataValue::from_static("1"));
        }
        let details = retry_info(code, &self.message, self.after);
        Status::with_details_and_metadata(code, self.message, details, metadata)
    }
}

/// Vouches that nothing of the Export is in flight any more.
pub fn vouch(metadata: &mut MetadataMap) {
    metadata.insert(SETTLED_KEY, MetadataValue::from_static("1"));
}

#[cfg(test)]
mod tests {
    use mesh::verdict::Reason;

    use super::*;

    fn retry(cause: Cause, settled: bool, secs: u64) -> Retry {
        let after = Duration::from_secs(secs);
        Retry {
            cause,
            after,
            settled,
            slow: false,
            message: format!("{cause:?}"),
        }
    }

    fn rejected(reason: Reason, units: u64) -> Answer {
        let mut answer = Answer {
            units: 10,
            ..Default::default()
        };
        answer.verdict.reject(reason, units);
        answer.problem = Some(reason.as_str().to_owned());
        answer
    }

    #[test]
    fn the_gravest_cause_is_told_and_all_have_to_be_over() {
        let mut answer = Answer::default();
        answer.come_again(retry(Cause::Unavailable, true, 5));
        answer.come_again(retry(Cause::DeadlineExceeded, false, 1));
        answer.come_again(retry(Cause::Exhausted, true, 2));
        let status = answer.response(&Spoken::default()).unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(!status.metadata().contains_key(SETTLED_KEY));
        let after = mesh::export::retry_delay(status.details());
        assert_eq!(after, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_settled_retry_is_vouched_for() {
        let status = retry(Cause::Exhausted, true, 1).status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.metadata().contains_key(SETTLED_KEY));
    }

    #[test]
    fn what_was_rejected_is_told_twice() {
        let response = rejected(Reason::TooOld, 3)
            .response(&Spoken::default())
            .unwrap();
        assert_eq!(
            Verdict::read(response.metadata()).rejected,
            [(Reason::TooOld, 3)]
        );
        let body = ExportMetricsServiceResponse::decode(response.into_inner()).unwrap();
        let partial = body.partial_success.unwrap();
        assert_eq!(
            (partial.rejected_data_points, partial.error_message.as_str()),
            (3, "too_old")
        );
    }

    #[test]
    fn of_several_destinations_the_worst_counts() {
        let answers = vec![
            rejected(Reason::TooOld, 3),
            rejected(Reason::SeriesLimit, 5),
            rejected(Reason::TooOld, 1),
        ];
        let all = Answer::of_all(answers);
        assert_eq!(all.verdict.rejected, [(Reason::SeriesLimit, 5)]);
    }

    #[test]
    fn any_destination_may_ask_for_a_retry() {
        let unwell = Answer {
            retry: Some(retry(Cause::Unavailable, true, 1)),
            ..Default::default()
        };
        let answers = vec![
            rejected(Reason::TooOld, 3),
            unwell,
            rejected(Reason::TooOld, 9),
        ];
        assert!(
            Answer::of_all(answers)
                .response(&Spoken::default())
                .is_err()
        );
    }
}
