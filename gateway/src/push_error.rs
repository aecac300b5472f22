//! Errors of a push, mapped to gRPC codes and HTTP statuses.
//!
//! The OTLP specification says which responses a client retries ("Failures", "OTLP/gRPC
//! Throttling", "OTLP/HTTP Throttling"). In gRPC these are UNAVAILABLE, and
//! RESOURCE_EXHAUSTED with a `RetryInfo`. In HTTP these are 429, 502, 503 and 504, after
//! `Retry-After`. Every other response is permanent. An error that a retry cannot fix
//! therefore never gets one of these.

use std::time::Duration;

use http::StatusCode;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::body::SUPPORTED;

/// Error that ends a push.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PushError {
    /// The request has no valid bearer token.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The content type is not an encoding of OTLP.
    #[error("{0}")]
    ContentType(String),
    /// The compression of the body is not supported.
    #[error("unsupported compression {0:?}, expected one of {SUPPORTED} or identity")]
    Encoding(String),
    /// The body exceeds a size limit.
    #[error("the body is larger than {limit} bytes{stage}")]
    TooLarge {
        /// Limit in bytes.
        limit: usize,
        /// Stage at which the limit applies; empty for the bytes on the wire.
        stage: &'static str,
    },
    /// The body cannot be decoded.
    #[error("{0}")]
    Malformed(String),
    /// The body did not arrive within `--otlp.body-timeout`.
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    /// The connection failed before the end of the body.
    #[error("incomplete body: {0}")]
    Interrupted(String),
    /// The client should retry the push.
    #[error(transparent)]
    RetryLater(#[from] RetryLater),
}

/// Temporary error: the client should retry the push after a delay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RetryLater {
    cause: RetryCause,
    message: &'static str,
    after: Duration,
}

/// Reason for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryCause {
    /// The client has too many pushes in flight.
    ClientLimit,
    /// The gateway has too many pushes in flight.
    PushLimit,
    /// The pushes in flight use the whole memory budget.
    Memory,
    /// The outbox is full.
    Outbox,
    /// The backend has not acknowledged the push in time.
    Unanswered,
    /// Another gateway, which owns some of the streams, did not answer.
    Peer,
    /// Some of the streams are moving to another gateway.
    Moving,
    /// The gateway is shutting down.
    Stopping,
}

// === impl PushError ===

impl PushError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Encoding(_) => Code::Unimplemented,
            // Not OUT_OF_RANGE, which OTLP clients retry, and not RESOURCE_EXHAUSTED,
            // which some SDKs retry even without a `RetryInfo`.
            Self::ContentType(_) | Self::TooLarge { .. } | Self::Malformed(_) => {
                Code::InvalidArgument
            }
            Self::Slow(_) => Code::DeadlineExceeded,
            Self::Interrupted(_) => Code::Cancelled,
            Self::RetryLater(retry) => match retry.cause {
                RetryCause::ClientLimit
                | RetryCause::PushLimit
                | RetryCause::Memory
                | RetryCause::Outbox => Code::ResourceExhausted,
                RetryCause::Unanswered
                | RetryCause::Peer
                | RetryCause::Moving
                | RetryCause::Stopping => Code::Unavailable,
            },
        }
    }

    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::ContentType(_) | Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Slow(_) | Self::Interrupted(_) => StatusCode::REQUEST_TIMEOUT,
            Self::RetryLater(retry) => match retry.cause {
                RetryCause::ClientLimit
                | RetryCause::PushLimit
                | RetryCause::Memory
                | RetryCause::Outbox => StatusCode::TOO_MANY_REQUESTS,
                RetryCause::Peer => StatusCode::BAD_GATEWAY,
                RetryCause::Moving | RetryCause::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                RetryCause::Unanswered => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }

    /// Delay before the client should retry; `None` if it should not.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RetryLater(retry) => Some(retry.after),
            _ => None,
        }
    }

    /// All values of [`Self::reason`].
    pub(crate) const REASONS: [&str; 15] = [
        "unauthenticated",
        "content_type",
        "encoding",
        "too_large",
        "malformed",
        "slow_body",
        "interrupted",
        "client_limit",
        "push_limit",
        "memory",
        "outbox_full",
        "unanswered",
        "peer",
        "moving",
        "stopping",
    ];

    /// Value of the `reason` label in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::ContentType(_) => "content_type",
            Self::Encoding(_) => "encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Slow(_) => "slow_body",
            Self::Interrupted(_) => "interrupted",
            Self::RetryLater(retry) => match retry.cause {
                RetryCause::ClientLimit => "client_limit",
                RetryCause::PushLimit => "push_limit",
                RetryCause::Memory => "memory",
                RetryCause::Outbox => "outbox_full",
                RetryCause::Unanswered => "unanswered",
                RetryCause::Peer => "peer",
                RetryCause::Moving => "moving",
                RetryCause::Stopping => "stopping",
            },
        }
    }

    /// Encodes the error as `google.rpc.Status`, with a `RetryInfo` if it is temporary.
    pub(crate) fn details(&self) -> Vec<u8> {
        match self.retry_after() {
            Some(_) => self.status().details().to_vec(),
            None => pb::Status {
                code: self.code().into(),
                message: self.to_string(),
                details: Vec::new(),
            }
            .encode_to_vec(),
        }
    }

    /// Converts the error to a gRPC status, with a `RetryInfo` if it is temporary.
    pub(crate) fn status(&self) -> Status {
        match self.retry_after() {
            Some(after) => {
                let details = ErrorDetails::with_retry_info(Some(after));
                Status::with_error_details(self.code(), self.to_string(), details)
            }
            None => Status::new(self.code(), self.to_string()),
        }
    }
}

// === impl RetryLater ===

impl RetryLater {
    pub(crate) fn new(cause: RetryCause) -> Self {
        let (message, seconds) = match cause {
            RetryCause::ClientLimit => ("this client has too many pushes in flight", 1),
            RetryCause::PushLimit => ("the gateway has too many pushes in flight", 1),
            RetryCause::Memory => ("the pushes in flight use the whole memory budget", 1),
            RetryCause::Outbox => ("the gateway's outbox is full", 5),
            RetryCause::Unanswered => ("the backend has not acknowledged the data in time", 5),
            RetryCause::Peer => ("the gateway that owns these streams did not answer", 2),
            RetryCause::Moving => ("these streams are moving to another gateway", 2),
            RetryCause::Stopping => ("the gateway is shutting down", 1),
        };
        let after = Duration::from_secs(seconds);
        Self {
            cause,
            message,
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_errors_have_a_retryable_status() {
        const RETRYABLE: [u16; 4] = [429, 502, 503, 504];
        let retry = |cause| PushError::RetryLater(RetryLater::new(cause));
        let all = [
            (PushError::Unauthenticated(""), false),
            (PushError::ContentType(String::new()), false),
            (PushError::Encoding(String::new()), false),
            (
                PushError::TooLarge {
                    limit: 1,
                    stage: "",
                },
                false,
            ),
            (PushError::Malformed(String::new()), false),
            (retry(RetryCause::ClientLimit), true),
            (retry(RetryCause::PushLimit), true),
            (retry(RetryCause::Memory), true),
            (retry(RetryCause::Outbox), true),
            (retry(RetryCause::Unanswered), true),
            (retry(RetryCause::Peer), true),
            (retry(RetryCause::Moving), true),
            (retry(RetryCause::Stopping), true),
        ];
        for (error, retryable) in all {
            let reason = error.reason();
            let http = RETRYABLE.contains(&error.http_status().as_u16());
            let grpc = matches!(error.code(), Code::ResourceExhausted | Code::Unavailable);
            let details = mesh_contract::export::retry_delay(error.status().details());
            assert_eq!((http, grpc), (retryable, retryable), "{reason}");
            assert_eq!(details, error.retry_after(), "{reason}");
            assert_eq!(details.is_some(), retryable, "{reason}");
        }
    }
}
