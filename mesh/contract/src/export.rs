//! One Export: what is sent to an exporter, and what can come back.
//!
//! The sending side of the mesh is a tower `Service<Export>`: [`mesh_outbox`]
//! calls it, [`mesh_balance`] provides it. An answer is a [`Verdict`]; anything
//! else says when the same bytes may be sent again (laws 3 and 5 of the design).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};

use crate::{
    batch::BatchContext,
    verdict::{Reason, Verdict},
};

/// One request to an exporter.
#[derive(Clone, Debug)]
pub struct Export {
    /// What holds for all series of the request.
    pub context: Arc<BatchContext>,
    /// An encoded `ExportMetricsServiceRequest`.
    pub payload: Bytes,
    /// How many samples it holds.
    pub samples: u64,
    /// When the exporter has given up on it, whatever became of it.
    pub deadline: Instant,
    /// What an exporter said of the same bytes before.
    pub progress: Progress,
}

/// What an exporter says of an Export some of whose destinations have spoken while
/// others have not. It means nothing to the sender, who sends it back with the same
/// bytes, so that those destinations are not written to again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress(Option<AsciiMetadataValue>);

/// There is no verdict yet.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It never left this process; it may be sent again at once.
    #[error("not sent: {0}")]
    Unsent(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The exporter vouches that nothing of it is in flight any more and asks for
    /// it again, after a while where it says so.
    #[error("{}", .status.message())]
    Again {
        /// How long to wait at least.
        after: Option<Duration>,
        /// The exporter's words.
        status: Status,
    },

    /// Nobody knows what became of it: it may be sent again after its deadline.
    #[error("{code}: {message}")]
    Unknown {
        /// The status code that came instead of a verdict.
        code: Code,
        /// The words that came with it.
        message: String,
        /// Who has spoken all the same.
        progress: Progress,
    },
}

/// Metadata by which an exporter vouches that nothing of a failed Export is in
/// flight any more.
pub const SETTLED_KEY: &str = "promesh-settled";

/// Metadata by which an exporter says of a failed Export that the backend answers
/// others, and takes about as long as this one was given: more time will help.
pub const SLOW_KEY: &str = "promesh-slow";

/// Metadata that carries [`Progress`], both ways.
const PROGRESS_KEY: &str = "promesh-progress";

// === impl Progress ===

impl Progress {
    /// What `text`, visible ASCII, says.
    pub fn new(text: &str) -> Self {
        Self(text.parse().ok())
    }

    /// Reads what a request or a failure carries.
    pub fn read(metadata: &MetadataMap) -> Self {
        Self(metadata.get(PROGRESS_KEY).cloned())
    }

    /// Writes it into the metadata of a request or a failure.
    pub fn write(&self, metadata: &mut MetadataMap) {
        if let Some(value) = &self.0 {
            metadata.insert(PROGRESS_KEY, value.clone());
        }
    }

    /// Its text; empty where there is none.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// This, or `before` where nothing is said here.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self(self.0.or(before.0))
    }
}

// === impl ExportError ===

impl ExportError {
    /// What the exporter said of destinations that have spoken.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Unsent(_) => Progress::default(),
            Self::Again { status, .. } => Progress::read(status.metadata()),
            Self::Unknown { progress, .. } => progress.clone(),
        }
    }

    /// Whether an exporter says that more time will help.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::Again { status, .. } => status.metadata().contains_key(SLOW_KEY),
            Self::Unsent(_) | Self::Unknown { .. } => false,
        }
    }
}

/// Reads the verdict of an answered Export.
///
/// Our exporters say it in metadata. A stock OTLP server says how many points it
/// rejected, but not why in terms of [`Reason`].
pub fn verdict(metadata: &MetadataMap, body: Bytes) -> Verdict {
    let verdict = Verdict::read(metadata);
    if verdict != Verdict::default() {
        return verdict;
    }
    let mut stock = Verdict::default();
    if let Ok(response) = ExportMetricsServiceResponse::decode(body)
        && let Some(partial) = response.partial_success
    {
        let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
        stock.reject(Reason::Refused, rejected);
    }
    stock
}

/// Reads a failed Export: a terminal verdict where one of our exporters found the
/// bytes malformed, and otherwise when to send them again.
///
/// # Errors
/// Where there is no verdict.
pub fn failure(status: Status, samples: u64) -> Result<Verdict, ExportError> {
    let settled = status.metadata().contains_key(SETTLED_KEY);
    if settled && status.code() == Code::InvalidArgument {
        let mut verdict = Verdict::default();
        verdict.reject(Reason::Malformed, samples);
        return Ok(verdict);
    }
    if settled {
        let after = retry_delay(status.details());
        return Err(ExportError::Again { after, status });
    }
    Err(ExportError::Unknown {
        code: status.code(),
        message: status.message().to_owned(),
        progress: Progress::read(status.metadata()),
    })
}

/// The `google.rpc.Status` with a `RetryInfo` that goes into
/// `grpc-status-details-bin`.
pub fn retry_info(code: Code, message: &str, delay: Duration) -> Bytes {
    let info = RetryInfo {
        retry_delay: Some(ProtoDuration {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: delay.subsec_nanos() as i32,
        }),
    };
    RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: vec![Any {
            type_url: RETRY_INFO_URL.to_owned(),
            value: info.encode_to_vec(),
        }],
    }
    .encode_to_vec()
    .into()
}

/// The time that a `grpc-timeout` gives (gRPC over HTTP/2, "Requests").
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

/// An encoded `google.rpc.Status` without details, the body of a failed OTLP/HTTP
/// request.
pub fn rpc_status(code: Code, message: &str) -> Bytes {
    let status = RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: Vec::new(),
    };
    status.encode_to_vec().into()
}

/// The delay that a `RetryInfo` in a status' details asks for.
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let any = status
        .details
        .iter()
        .find(|any| any.type_url == RETRY_INFO_URL)?;
    let delay = RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    let nanos = u32::try_from(delay.nanos).ok()?;
    Some(Duration::new(seconds, nanos.min(999_999_999)))
}

const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`, of google/rpc/status.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`, of google/rpc/error_details.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;

    use super::*;

    fn settled(code: Code, details: Bytes) -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert(SETTLED_KEY, "1".parse().unwrap());
        Status::with_details_and_metadata(code, "words", details, metadata)
    }

    #[test]
    fn a_delay_survives_the_wire() {
        let delay = Duration::from_millis(1_250);
        let details = retry_info(Code::Unavailable, "words", delay);
        assert_eq!(retry_delay(&details), Some(delay));
        assert_eq!(retry_delay(b"nonsense"), None);
    }

    #[test]
    fn a_settled_failure_may_be_sent_again_when_the_exporter_says() {
        let delay = Duration::from_secs(3);
        let details = retry_info(Code::Unavailable, "words", delay);
        match failure(settled(Code::Unavailable, details), 5) {
            Err(ExportError::Again { after, .. }) => assert_eq!(after, Some(delay)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_an_exporters_word_is_terminal() {
        let verdict = failure(settled(Code::InvalidArgument, Bytes::new()), 5).unwrap();
        assert_eq!(verdict.rejected, [(Reason::Malformed, 5)]);
        let proxy = failure(Status::invalid_argument("a proxy's"), 5);
        assert!(matches!(proxy, Err(ExportError::Unknown { .. })));
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
    }
}
