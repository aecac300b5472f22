//! Exports: requests to an exporter, and their responses.
//!
//! A sender's client is a tower `Service<Export>`. `mesh_outbox` calls it and
//! `mesh_balance` implements it. The response is a [`Verdict`]. An [`ExportError`] says
//! when the sender may retry the same bytes (laws 3 and 5 in ARCHITECTURE.md).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};
use tonic_types::{RpcStatusExt, pb};

use crate::{
    batch::BatchContext,
    verdict::{Reason, Verdict},
};

/// One request to an exporter.
#[derive(Clone, Debug)]
pub struct Export {
    /// Properties of all series of the request.
    pub context: Arc<BatchContext>,
    /// Encoded `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// Number of samples in the payload.
    pub samples: u64,
    /// Time after which no part of the request is in flight any more.
    pub deadline: Instant,
    /// Progress that an exporter reported for an earlier attempt with the same bytes.
    pub progress: Progress,
}

/// Destinations that have already answered for an Export, as the exporter encodes them.
///
/// The sender does not interpret it. It returns it with the retry, so that the exporter
/// writes only to the other destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress(Option<AsciiMetadataValue>);

/// Failure of an Export that has no verdict yet.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No part of the request was sent. The sender may retry at once.
    #[error("not sent: {0}")]
    Unsent(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The exporter asks for a retry and guarantees that no part of the request is in
    /// flight any more.
    #[error("{}", .status.message())]
    Retry {
        /// Minimum delay of the retry, if the exporter gives one.
        after: Option<Duration>,
        /// Status of the response.
        status: Status,
    },

    /// The outcome is unknown. The sender may retry after the request's deadline.
    #[error("{code}: {message}")]
    Unknown {
        /// Status code of the response, or of the failed connection.
        code: Code,
        /// Message of the status.
        message: String,
        /// Destinations that have answered nevertheless.
        progress: Progress,
    },
}

/// Metadata key of a failed Export of which no part is in flight any more.
pub const SETTLED_KEY: &str = "promesh-settled";

/// Metadata key of a failed Export whose backend is up but slow. A longer deadline will
/// help.
pub const SLOW_KEY: &str = "promesh-slow";

/// Metadata key of [`Progress`], in requests and in failures.
const PROGRESS_KEY: &str = "promesh-progress";

// === impl Progress ===

impl Progress {
    /// Creates progress from visible ASCII text. Other text gives empty progress.
    pub fn new(text: &str) -> Self {
        Self(text.parse().ok())
    }

    /// Reads the progress of a request or a failure.
    pub fn read(metadata: &MetadataMap) -> Self {
        Self(metadata.get(PROGRESS_KEY).cloned())
    }

    /// Writes the progress into the metadata of a request or a failure.
    pub fn write(&self, metadata: &mut MetadataMap) {
        if let Some(value) = &self.0 {
            metadata.insert(PROGRESS_KEY, value.clone());
        }
    }

    /// Returns the text, which is empty without progress.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// Returns this progress, or `before` if this progress is empty.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self(self.0.or(before.0))
    }
}

// === impl ExportError ===

impl ExportError {
    /// Returns the destinations that have answered.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Unsent(_) => Progress::default(),
            Self::Retry { status, .. } => Progress::read(status.metadata()),
            Self::Unknown { progress, .. } => progress.clone(),
        }
    }

    /// Returns true if a longer deadline will help.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::Retry { status, .. } => status.metadata().contains_key(SLOW_KEY),
            Self::Unsent(_) | Self::Unknown { .. } => false,
        }
    }
}

/// Reads the verdict of a successful Export.
///
/// A promesh exporter sends the counts as metadata. A stock OTLP server sends the number
/// of rejected points only; they count as [`Reason::Refused`]. Both describe the first
/// rejection in the body.
pub fn verdict(metadata: &MetadataMap, body: Bytes) -> Verdict {
    let mut verdict = Verdict::read(metadata);
    let response = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    let Some(partial) = response.partial_success else {
        return verdict;
    };
    if verdict == Verdict::default() {
        let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
        verdict.reject(Reason::Refused, rejected);
    }
    if !verdict.rejected.is_empty() && !partial.error_message.is_empty() {
        verdict.problem = Some(partial.error_message);
    }
    verdict
}

/// Reads a failed Export. Two statuses of a promesh exporter are verdicts on the bytes:
/// `InvalidArgument` for malformed ones, and `OutOfRange` for more than it can ever process.
///
/// # Errors
/// Returns an error for every other status. It says when to retry.
pub fn failure(status: Status, samples: u64) -> Result<Verdict, ExportError> {
    let settled = status.metadata().contains_key(SETTLED_KEY);
    let permanent = match status.code() {
        Code::InvalidArgument => Some(Reason::Malformed),
        Code::OutOfRange => Some(Reason::TooLarge),
        _ => None,
    };
    if let Some(reason) = permanent.filter(|_| settled) {
        let mut verdict = Verdict::default();
        verdict.reject(reason, samples);
        verdict.problem = Some(status.message().to_owned());
        return Ok(verdict);
    }
    if settled {
        let after = retry_delay(status.details());
        return Err(ExportError::Retry { after, status });
    }
    Err(ExportError::Unknown {
        code: status.code(),
        message: status.message().to_owned(),
        progress: Progress::read(status.metadata()),
    })
}

/// Parses a `grpc-timeout` header (gRPC over HTTP/2, "Requests").
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value.checked_mul(3600)?),
        "M" => Duration::from_secs(value.checked_mul(60)?),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Reads the delay of the `RetryInfo` in an encoded `google.rpc.Status`.
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = pb::Status::decode(details).ok()?;
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn settled(code: Code, details: ErrorDetails) -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert(SETTLED_KEY, "1".parse().unwrap());
        Status::with_error_details_and_metadata(code, "message", details, metadata)
    }

    #[test]
    fn a_delay_survives_the_wire() {
        let delay = Duration::from_millis(1_250);
        let details = ErrorDetails::with_retry_info(Some(delay));
        let status = Status::with_error_details(Code::Unavailable, "message", details);
        assert_eq!(retry_delay(status.details()), Some(delay));
        assert_eq!(retry_delay(b"nonsense"), None);
    }

    #[test]
    fn a_settled_failure_has_the_exporters_delay() {
        let delay = Duration::from_secs(3);
        let details = ErrorDetails::with_retry_info(Some(delay));
        match failure(settled(Code::Unavailable, details), 5) {
            Err(ExportError::Retry { after, .. }) => assert_eq!(after, Some(delay)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_an_exporters_permanent_refusal_is_a_verdict() {
        for (code, reason) in [
            (Code::InvalidArgument, Reason::Malformed),
            (Code::OutOfRange, Reason::TooLarge),
        ] {
            let verdict = failure(settled(code, ErrorDetails::new()), 5).unwrap();
            assert_eq!(verdict.rejected, [(reason, 5)]);
            assert_eq!(verdict.problem.as_deref(), Some("message"));
            let proxy = failure(Status::new(code, "a proxy's"), 5);
            assert!(matches!(proxy, Err(ExportError::Unknown { .. })));
        }
    }

    #[test]
    fn a_stock_servers_partial_success_is_a_verdict() {
        let response = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 3,
                error_message: "no".to_owned(),
            }),
        };
        let verdict = verdict(&MetadataMap::new(), response.encode_to_vec().into());
        assert_eq!(verdict.rejected, [(Reason::Refused, 3)]);
        assert_eq!(verdict.problem.as_deref(), Some("no"));
    }

    #[test]
    fn an_exporters_verdict_has_the_description_of_its_body() {
        let response = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 3,
                error_message: "metric with an empty name".to_owned(),
            }),
        };
        let (mut sent, mut metadata) = (Verdict::default(), MetadataMap::new());
        sent.reject(Reason::InvalidName, 3);
        sent.write(&mut metadata);
        let verdict = verdict(&metadata, response.encode_to_vec().into());
        assert_eq!(verdict.rejected, sent.rejected);
        assert_eq!(
            verdict.problem.as_deref(),
            Some("metric with an empty name")
        );
    }
}
