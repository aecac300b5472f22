//! Exports: requests to an exporter, and their responses.
//!
//! A sender's client is a tower `Service<Export>`. `mesh_outbox` calls it and
//! `mesh_balance` implements it. The response is an [`ExportResponse`]. An [`ExportError`] says
//! when the sender may retry the same bytes (laws 3 and 5 in ARCHITECTURE.md).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};
use tonic_types::{RpcStatusExt, pb};

use crate::{
    batch::BatchContext,
    report::{BatchSizes, ExportResponse, mark_separable, read_destinations, write_destination},
    verdict::{Reason, Verdict},
};

/// One request to an exporter.
#[derive(Clone, Debug)]
pub struct Export {
    /// Properties of all series of the request.
    pub context: Arc<BatchContext>,
    /// Encoded `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// Sizes of the batches in the payload.
    pub batches: BatchSizes,
    /// The only destination to write to; all destinations if `None`.
    pub destination: Option<Arc<str>>,
    /// Number of samples in the payload.
    pub samples: u64,
    /// Time after which no part of the request is in flight any more.
    pub deadline: Instant,
    /// Progress that an exporter reported for earlier attempts with the same bytes, of each
    /// batch.
    pub progress: Vec<Progress>,
}

/// Destinations that have already answered for a batch, as the exporter encodes them.
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
        /// `true` if the connection broke. `false` if somebody answered, maybe a proxy.
        is_broken: bool,
        /// Progress of each batch, and the exporter's destinations.
        report: FailureReport,
    },
}

/// Report of an exporter with a failed Export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureReport {
    /// Progress of each batch. Empty if there is none.
    pub progress: Vec<Progress>,
    /// Names of the exporter's destinations.
    pub destinations: Vec<String>,
}

/// Metadata key of a failed Export of which no part is in flight any more.
pub const SETTLED_KEY: &str = "promesh-settled";

/// Metadata key of a failed Export whose backend is up but slow. A longer deadline will
/// help.
pub const SLOW_KEY: &str = "promesh-slow";

/// Metadata key of a failed Export whose batches have to be sent one by one.
const SPLIT_KEY: &str = "promesh-split";

/// Metadata key of [`Progress`], in requests and in failures.
const PROGRESS_KEY: &str = "promesh-progress";
/// Separates the progress of two batches.
const SEPARATOR: &str = "|";
/// Maximum length of all progress of one request or failure. gRPC servers and clients limit the
/// size of all metadata.
const MAX_PROGRESS_BYTES: usize = 16 << 10;

// === impl Export ===

impl Export {
    /// Writes everything but the payload and the deadline into the metadata of the request.
    pub fn write(&self, metadata: &mut MetadataMap) {
        self.context.write(metadata);
        self.batches.write(metadata);
        Progress::write(&self.progress, metadata);
        match &self.destination {
            Some(destination) => write_destination(destination, metadata),
            None => mark_separable(metadata),
        }
    }
}

// === impl Progress ===

impl Progress {
    /// Creates progress from visible ASCII text without `|`. Other text gives empty progress.
    pub fn new(text: &str) -> Self {
        let is_valid = !text.is_empty() && !text.contains(SEPARATOR);
        Self(text.parse().ok().filter(|_| is_valid))
    }

    /// Reads the progress of each batch of a request or a failure. Missing ones are empty.
    pub fn read(metadata: &MetadataMap) -> Vec<Self> {
        let value = metadata.get(PROGRESS_KEY).and_then(|it| it.to_str().ok());
        let batches = value.into_iter().flat_map(|text| text.split(SEPARATOR));
        batches.map(Self::new).collect()
    }

    /// Writes the progress of each batch into the metadata of a request or a failure. Batches
    /// beyond 16 KiB have none there, so that destinations receive them again.
    pub fn write(batches: &[Self], metadata: &mut MetadataMap) {
        if batches.iter().all(|it| it.as_str().is_empty()) {
            return;
        }
        let mut joined = String::new();
        for batch in batches {
            let fits = joined.len() + batch.as_str().len() < MAX_PROGRESS_BYTES;
            joined.push_str(if fits { batch.as_str() } else { "" });
            joined.push_str(SEPARATOR);
        }
        joined.pop();
        if let Ok(value) = joined.parse() {
            metadata.insert(PROGRESS_KEY, value);
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

// === impl FailureReport ===

impl FailureReport {
    fn read(metadata: &MetadataMap) -> Self {
        Self {
            progress: Progress::read(metadata),
            destinations: read_destinations(metadata),
        }
    }
}

// === impl ExportError ===

impl ExportError {
    /// Returns what the exporter reported.
    pub fn report(&self) -> FailureReport {
        match self {
            Self::Unsent(_) => FailureReport::default(),
            Self::Retry { status, .. } => FailureReport::read(status.metadata()),
            Self::Unknown { report, .. } => report.clone(),
        }
    }

    /// Returns true if the batches have to be sent one by one: together they are too large.
    pub fn must_split(&self) -> bool {
        match self {
            Self::Retry { status, .. } => status.metadata().contains_key(SPLIT_KEY),
            Self::Unsent(_) | Self::Unknown { .. } => false,
        }
    }

    /// Returns true if the exporter may have died of the Export: no exporter has answered, but
    /// maybe a proxy.
    pub fn may_have_killed(&self) -> bool {
        match self {
            Self::Unknown { code, report, .. } => {
                *code != Code::DeadlineExceeded && report.destinations.is_empty()
            }
            Self::Unsent(_) | Self::Retry { .. } => false,
        }
    }

    /// Returns true if the connection broke while the Export was in flight. The answer of a
    /// proxy or of a stock OTLP server never counts: it must not remove data (law 5).
    pub fn broke_connection(&self) -> bool {
        matches!(self, Self::Unknown { is_broken, .. } if *is_broken)
    }

    /// Returns true if a longer deadline will help.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::Retry { status, .. } => status.metadata().contains_key(SLOW_KEY),
            Self::Unsent(_) | Self::Unknown { .. } => false,
        }
    }
}

/// Marks a failed Export whose batches have to be sent one by one.
pub fn mark_split(metadata: &mut MetadataMap) {
    metadata.insert(SPLIT_KEY, AsciiMetadataValue::from_static("1"));
}

/// Reads a failed Export. Two statuses of a promesh exporter are verdicts on the bytes:
/// `InvalidArgument` for malformed ones, and `OutOfRange` for more than it can ever process.
///
/// # Errors
/// Returns an error for every other status. It says when to retry.
pub fn failure(status: Status, samples: u64) -> Result<ExportResponse, ExportError> {
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
        return Ok(verdict.into());
    }
    if settled {
        let after = retry_delay(status.details());
        return Err(ExportError::Retry { after, status });
    }
    Err(ExportError::Unknown {
        code: status.code(),
        message: status.message().to_owned(),
        // A status from the wire has no source.
        is_broken: std::error::Error::source(&status).is_some(),
        report: FailureReport::read(status.metadata()),
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
            let response = failure(settled(code, ErrorDetails::new()), 5).unwrap();
            let verdict = response.verdict;
            assert_eq!(verdict.rejected, [(reason, 5)]);
            assert_eq!(verdict.problem.as_deref(), Some("message"));
            let proxy = failure(Status::new(code, "a proxy's"), 5);
            assert!(matches!(proxy, Err(ExportError::Unknown { .. })));
        }
    }

    #[test]
    fn only_a_broken_connection_may_be_a_death() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let broken = failure(Status::from_error(broken.into()), 5).unwrap_err();
        assert!(broken.broke_connection() && broken.may_have_killed());
        let proxy = failure(Status::unavailable("no healthy upstream"), 5).unwrap_err();
        assert!(!proxy.broke_connection() && proxy.may_have_killed());
    }

    #[test]
    fn the_progress_of_many_batches_fits_into_the_metadata() {
        let text = "f".repeat(100);
        let progress = vec![Progress::new(&text); 256];
        let mut metadata = MetadataMap::new();
        Progress::write(&progress, &mut metadata);
        let read = Progress::read(&metadata);
        assert_eq!(read.len(), 256);
        let whole = read.iter().filter(|it| it.as_str() == text).count();
        assert!((150..170).contains(&whole), "{whole}");
        assert!(metadata.get(PROGRESS_KEY).unwrap().len() < 17 << 10);
    }

    #[test]
    fn the_progress_of_each_batch_survives_the_wire() {
        let progress = ["1f;too_old=2", "", "2a;"].map(Progress::new);
        let mut metadata = MetadataMap::new();
        Progress::write(&progress, &mut metadata);
        assert_eq!(Progress::read(&metadata), progress);
        let mut metadata = MetadataMap::new();
        Progress::write(&[Progress::default(), Progress::new("a|b")], &mut metadata);
        assert!(metadata.is_empty() && Progress::read(&metadata).is_empty());
    }
}
