//! Why a push is not taken, in the words of either protocol.
//!
//! The OTLP specification tells what a client sends again ("Failures", "OTLP/gRPC
//! Throttling", "OTLP/HTTP Throttling"): UNAVAILABLE, and RESOURCE_EXHAUSTED only
//! with a `RetryInfo`; 429, 502, 503 and 504, after `Retry-After`. Whatever else
//! is answered is for good, so that nothing that a second try cannot mend is sent
//! for ever.

use std::time::Duration;

use http::StatusCode;
use mesh::export::{retry_info, rpc_status};
use tonic::{Code, Status};

/// A push that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The client did not say who it is, or not rightly.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The body is in no encoding of OTLP.
    #[error("{0}")]
    ContentType(String),
    /// The body is compressed in a way that is not spoken.
    #[error("the body's encoding is {0:?}, expected gzip, zstd, deflate or identity")]
    Encoding(String),
    /// The body is larger than it may be.
    #[error("the body is larger than {limit} bytes{what}")]
    TooLarge {
        /// How large it may be.
        limit: usize,
        /// Empty, or where the limit applies.
        what: &'static str,
    },
    /// The body is not what it says it is.
    #[error("{0}")]
    Malformed(String),
    /// The body did not come in time.
    #[error("the body did not arrive within {0:?}")]
    Slow(Duration),
    /// The body ended early.
    #[error("the body did not arrive whole: {0}")]
    Interrupted(String),
    /// There is no room for it now.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// A push that the client should send again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Busy {
    cause: Cause,
    why: &'static str,
    after: Duration,
}

/// Why a push has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Too many pushes of this client are under way.
    ClientLimit,
    /// Too many pushes are under way.
    PushLimit,
    /// Those that are take all memory there is for them.
    Memory,
    /// The outbox is full.
    Outbox,
    /// Nobody knows yet what became of it.
    Unanswered,
    /// Another gateway, which sums some of its streams, did not answer.
    Peer,
    /// Some of its streams are moving to another gateway.
    Moving,
    /// The gateway stops.
    Stopping,
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Encoding(_) => Code::Unimplemented,
            // Not OUT_OF_RANGE, which OTLP sends again, and not RESOURCE_EXHAUSTED,
            // which some SDKs do whatever comes with it.
            Self::ContentType(_) | Self::TooLarge { .. } | Self::Malformed(_) => {
                Code::InvalidArgument
            }
            Self::Slow(_) => Code::DeadlineExceeded,
            Self::Interrupted(_) => Code::Cancelled,
            Self::Busy(busy) => match busy.cause {
                Cause::ClientLimit | Cause::PushLimit | Cause::Memory | Cause::Outbox => {
                    Code::ResourceExhausted
                }
                Cause::Unanswered | Cause::Peer | Cause::Moving | Cause::Stopping => {
                    Code::Unavailable
                }
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
            Self::Busy(busy) => match busy.cause {
                Cause::ClientLimit | Cause::PushLimit | Cause::Memory | Cause::Outbox => {
                    StatusCode::TOO_MANY_REQUESTS
                }
                Cause::Peer => StatusCode::BAD_GATEWAY,
                Cause::Moving | Cause::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                Cause::Unanswered => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }

    /// When to send it again, where that makes sense.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(busy) => Some(busy.after),
            _ => None,
        }
    }

    /// Its name in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::ContentType(_) => "content_type",
            Self::Encoding(_) => "encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Slow(_) => "slow_body",
            Self::Interrupted(_) => "interrupted",
            Self::Busy(busy) => match busy.cause {
                Cause::ClientLimit => "client_limit",
                Cause::PushLimit => "push_limit",
                Cause::Memory => "memory",
                Cause::Outbox => "outbox_full",
                Cause::Unanswered => "unanswered",
                Cause::Peer => "peer",
                Cause::Moving => "moving",
                Cause::Stopping => "stopping",
            },
        }
    }

    /// The encoded `google.rpc.Status`.
    pub(crate) fn details(&self) -> bytes::Bytes {
        let message = self.to_string();
        match self.retry_after() {
            Some(after) => retry_info(self.code(), &message, after),
            None => rpc_status(self.code(), &message),
        }
    }

    /// As gRPC answers it.
    pub(crate) fn status(&self) -> Status {
        match self.retry_after() {
            Some(_) => Status::with_details(self.code(), self.to_string(), self.details()),
            None => Status::new(self.code(), self.to_string()),
        }
    }
}

// === impl Busy ===

impl Busy {
    pub(crate) fn new(cause: Cause) -> Self {
        let (why, seconds) = match cause {
            Cause::ClientLimit => ("too many pushes of this client are under way", 1),
            Cause::PushLimit => ("too many pushes are under way", 1),
            Cause::Memory => ("the pushes under way leave no memory for this one", 1),
            Cause::Outbox => ("the gateway's outbox is full", 5),
            Cause::Unanswered => ("the backend has not answered yet", 5),
            Cause::Peer => ("the gateway that sums these streams did not answer", 2),
            Cause::Moving => ("these streams are moving to another gateway", 2),
            Cause::Stopping => ("the gateway is stopping", 1),
        };
        let after = Duration::from_secs(seconds);
        Self { cause, why, after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_sent_again_looks_so() {
        const AGAIN: [u16; 4] = [429, 502, 503, 504];
        let busy = |cause| Refusal::Busy(Busy::new(cause));
        let all = [
            (Refusal::Unauthenticated(""), false),
            (Refusal::ContentType(String::new()), false),
            (Refusal::Encoding(String::new()), false),
            (Refusal::TooLarge { limit: 1, what: "" }, false),
            (Refusal::Malformed(String::new()), false),
            (busy(Cause::ClientLimit), true),
            (busy(Cause::PushLimit), true),
            (busy(Cause::Memory), true),
            (busy(Cause::Outbox), true),
            (busy(Cause::Unanswered), true),
            (busy(Cause::Peer), true),
            (busy(Cause::Moving), true),
            (busy(Cause::Stopping), true),
        ];
        for (refusal, again) in all {
            let reason = refusal.reason();
            let http = AGAIN.contains(&refusal.http_status().as_u16());
            let grpc = matches!(refusal.code(), Code::ResourceExhausted | Code::Unavailable);
            let details = mesh::export::retry_delay(refusal.status().details());
            assert_eq!((http, grpc), (again, again), "{reason}");
            assert_eq!(details, refusal.retry_after(), "{reason}");
            assert_eq!(details.is_some(), again, "{reason}");
        }
    }
}
