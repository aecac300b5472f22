//! Interpretation of a backend's response.
//!
//! The table follows the documentation of AMP and the messages of Cortex, which AMP is
//! based on. It covers the responses of Prometheus too.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use mesh_contract::verdict::Reason;

/// Meaning of a backend's response to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResponse {
    /// The backend stored all samples.
    Stored,
    /// The backend stored none of the samples, because another replica is elected.
    Deduplicated,
    /// The backend permanently rejected some or all samples and stored the rest.
    Rejected {
        /// Reason of the rejection.
        reason: Reason,
        /// Number of rejected samples, if the backend gave it.
        count: Option<u64>,
        /// Message of the backend.
        message: String,
    },
    /// The backend throttles this client.
    Throttled {
        /// Delay that the backend asked for.
        after: Option<Duration>,
        /// Message of the backend.
        message: String,
    },
    /// The backend failed.
    Failed {
        /// Delay that the backend asked for.
        after: Option<Duration>,
        /// Message of the backend.
        message: String,
    },
    /// The backend rejected the signature, the credentials or their permissions.
    Forbidden {
        /// Message of the backend.
        message: String,
    },
}

/// Maximum length of a message in characters; messages travel in headers.
const MESSAGE_CHARS: usize = 1024;
/// Maximum length of a rejection message in characters. It is longer because it ends
/// with the labels of the rejected series, which the attribution needs.
const REJECTION_CHARS: usize = 8 * 1024;

/// Phrases of rejection messages by reason, in lower case. The first match wins.
const PHRASES: &[(&str, Reason)] = &[
    ("too many ha clusters", Reason::HaClusterLimit),
    // Wording of newer Cortex versions.
    ("too many ha replicagroups", Reason::HaClusterLimit),
    ("series limit", Reason::SeriesLimit),
    ("series_limit", Reason::SeriesLimit),
    ("out of order", Reason::OutOfOrder),
    ("out-of-order", Reason::OutOfOrder),
    (
        "duplicate sample for timestamp",
        Reason::NewValueForTimestamp,
    ),
    ("new value for timestamp", Reason::NewValueForTimestamp),
    ("new-value-for-timestamp", Reason::NewValueForTimestamp),
    ("too far in the future", Reason::TooFarInFuture),
    ("timestamp too new", Reason::TooFarInFuture),
    ("timestamp too old", Reason::TooOld),
    ("sample too old", Reason::TooOld),
    ("too old sample", Reason::TooOld),
    ("sample-too-old", Reason::TooOld),
    ("greater_than_max_sample_age", Reason::TooOld),
    ("out of bounds", Reason::TooOld),
    ("too many labels", Reason::LabelLimit),
    ("max_label_names_per_series", Reason::LabelLimit),
    ("labels size bytes exceeded", Reason::LabelLimit),
    ("label name too long", Reason::LabelLimit),
    ("label value too long", Reason::LabelLimit),
    ("label_value_too_long", Reason::LabelLimit),
    ("duplicate label name", Reason::DuplicateLabel),
    ("duplicate_label_names", Reason::DuplicateLabel),
    ("missing metric name", Reason::InvalidName),
    ("missing_metric_name", Reason::InvalidName),
    ("invalid metric name", Reason::InvalidName),
    ("metric_name_invalid", Reason::InvalidName),
    ("invalid label", Reason::InvalidLabel),
    ("labels not sorted", Reason::InvalidLabel),
    ("empty labels found", Reason::InvalidName),
    ("label_invalid", Reason::InvalidLabel),
    ("native histogram", Reason::InvalidHistogram),
    ("native_histogram", Reason::InvalidHistogram),
    ("invalid histogram", Reason::InvalidHistogram),
];

/// Phrases of exemplar errors, in lower case. The backend stores the samples of these
/// exemplars.
const EXEMPLARS: &[&str] = &[
    "out of order exemplar",
    "exemplar missing",
    "exemplar combined labelset",
    "exemplars not ingested",
];

// === impl WriteResponse ===

impl WriteResponse {
    /// Interprets a response.
    pub fn parse(status: StatusCode, headers: &HeaderMap, body: &str, now: SystemTime) -> Self {
        let message = || status_and_body(status, body, MESSAGE_CHARS);
        let rejection = || status_and_body(status, body, REJECTION_CHARS);
        let after = || retry_after(headers, now);
        match status {
            StatusCode::ACCEPTED => Self::Deduplicated,
            _ if status.is_success() => Self::Stored,
            StatusCode::FORBIDDEN => Self::Forbidden { message: message() },
            // Cortex uses this status for new series beyond the limit too. It stores
            // the rest of the request, so a retry is pointless.
            StatusCode::TOO_MANY_REQUESTS if reason(body) == Reason::SeriesLimit => {
                Self::Rejected {
                    reason: Reason::SeriesLimit,
                    count: None,
                    message: rejection(),
                }
            }
            StatusCode::TOO_MANY_REQUESTS => Self::Throttled {
                after: after(),
                message: message(),
            },
            StatusCode::PAYLOAD_TOO_LARGE => Self::Rejected {
                reason: Reason::TooLarge,
                count: None,
                message: rejection(),
            },
            StatusCode::REQUEST_TIMEOUT => Self::Failed {
                after: after(),
                message: message(),
            },
            _ if status.is_client_error() => Self::Rejected {
                reason: reason(body),
                count: is_of_exemplar(body).then_some(0),
                message: rejection(),
            },
            // Includes redirects, which would invalidate the signature.
            _ => Self::Failed {
                after: after(),
                message: message(),
            },
        }
    }

    /// Applies the number of `written` samples in a remote-write 2.0 response, out of
    /// `sent`. A backend that does not give the number has not understood the request
    /// (Remote-Write 2.0, "Required Written Response Headers").
    pub fn with_written_count(self, sent: u64, written: Option<u64>) -> Self {
        let missing = sent.saturating_sub(written.unwrap_or(0));
        match self {
            Self::Stored if missing > 0 => Self::Rejected {
                reason: Reason::Refused,
                count: Some(missing),
                message: match written {
                    Some(written) => format!("{written} of {sent} samples written"),
                    None => "the answer has none of the headers of remote write 2.0".to_owned(),
                },
            },
            Self::Rejected {
                reason, message, ..
            } => Self::Rejected {
                reason,
                count: written.map(|_| missing),
                message,
            },
            other => other,
        }
    }
}

fn reason(body: &str) -> Reason {
    // A JSON body has a brace before the message.
    let found = phrase(before_series(body)).or_else(|| phrase(body));
    found.unwrap_or(Reason::Refused)
}

/// Text of a body before the first series, whose labels may contain any phrase.
fn before_series(body: &str) -> &str {
    body.split(['{', '"', '\'']).next().unwrap_or_default()
}

fn is_of_exemplar(body: &str) -> bool {
    let text = before_series(body).to_lowercase();
    EXEMPLARS.iter().any(|phrase| text.contains(phrase))
}

fn phrase(text: &str) -> Option<Reason> {
    let text = text.to_lowercase();
    let found = PHRASES.iter().find(|(phrase, _)| text.contains(phrase));
    found.map(|(_, reason)| *reason)
}

fn status_and_body(status: StatusCode, body: &str, chars: usize) -> String {
    let body: String = body.trim().chars().take(chars).collect();
    format!("{status}: {body}")
}

/// Parses `Retry-After` as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(status: u16, body: &str) -> WriteResponse {
        let status = StatusCode::from_u16(status).unwrap();
        WriteResponse::parse(status, &HeaderMap::new(), body, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn parses_successes() {
        assert_eq!(parse(200, ""), WriteResponse::Stored);
        assert_eq!(parse(204, ""), WriteResponse::Stored);
        assert_eq!(
            parse(202, "replicas did not match"),
            WriteResponse::Deduplicated
        );
    }

    #[test]
    fn parses_the_reason_of_rejections() {
        let is = |status, body, want| match parse(status, body) {
            WriteResponse::Rejected { reason, .. } => assert_eq!(reason, want, "{body}"),
            other => panic!("{body}: {other:?}"),
        };
        is(
            400,
            "user=1: err: out of order sample. timestamp=1, series={a=\"b\"}",
            Reason::OutOfOrder,
        );
        is(
            400,
            "err: duplicate sample for timestamp. x",
            Reason::NewValueForTimestamp,
        );
        is(400, "out of bounds", Reason::TooOld);
        is(400, "timestamp too old: 12 metric: \"m\"", Reason::TooOld);
        is(
            400,
            "timestamp too new: 12 metric: \"m\"",
            Reason::TooFarInFuture,
        );
        is(
            400,
            "per-user series limit of 10 exceeded",
            Reason::SeriesLimit,
        );
        is(
            429,
            "per-user series limit of 10 exceeded",
            Reason::SeriesLimit,
        );
        is(
            400,
            "series has too many labels (actual: 40, limit: 30)",
            Reason::LabelLimit,
        );
        is(
            400,
            "label value too long for metric: m",
            Reason::LabelLimit,
        );
        is(400, "sample invalid label: \"a-b\"", Reason::InvalidLabel);
        is(400, "sample missing metric name", Reason::InvalidName);
        is(400, "duplicate label name: a", Reason::DuplicateLabel);
        is(
            400,
            "native histogram buckets exceeded",
            Reason::InvalidHistogram,
        );
        is(
            400,
            "too many HA clusters (limit: 100)",
            Reason::HaClusterLimit,
        );
        is(400, "phase of the moon", Reason::Refused);
        is(401, "", Reason::Refused);
        is(404, "", Reason::Refused);
        is(413, "", Reason::TooLarge);
    }

    #[test]
    fn parses_the_reason_in_messages_of_cortex() {
        let is = |body, want| match parse(400, body) {
            WriteResponse::Rejected { reason, count, .. } => {
                assert_eq!((reason, count), (want, None), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        };
        // Messages of Cortex with made-up series.
        is(
            "too many HA replicaGroups (limit: 2)",
            Reason::HaClusterLimit,
        );
        is(
            "labels not sorted: \"a\" metric \"m{b=\\\"1\\\", a=\\\"2\\\"}\"",
            Reason::InvalidLabel,
        );
        is("empty labels found", Reason::InvalidName);
        is(
            "labels size bytes exceeded for metric (actual: 90, limit: 80) metric: \"m\"",
            Reason::LabelLimit,
        );
        is(
            "user=t: per-user native histogram series limit of 5 exceeded, ask (local limit: 5)",
            Reason::SeriesLimit,
        );
        is(
            "user=t: per-labelset series limit of 5 exceeded (labelSet: x) for series {a=\"b\"}",
            Reason::SeriesLimit,
        );
        is(
            "native histogram bucket count exceeded for metric (limit: 2) metric: \"m\"",
            Reason::InvalidHistogram,
        );
        is(
            "invalid native histogram schema 9 for metric: \"m\". supported schema from -4 to 8",
            Reason::InvalidHistogram,
        );
    }

    #[test]
    fn ignores_labels_of_the_named_series() {
        let body = "user=t: err: out of bounds. timestamp=1, series={why=\"series limit\"}";
        let WriteResponse::Rejected { reason, .. } = parse(400, body) else {
            panic!("a rejection")
        };
        assert_eq!(reason, Reason::TooOld);
        let json = r#"{"message": "per-user series limit of 10 exceeded"}"#;
        let WriteResponse::Rejected { reason, .. } = parse(400, json) else {
            panic!("a rejection")
        };
        assert_eq!(reason, Reason::SeriesLimit);
    }

    #[test]
    fn a_rejected_exemplar_rejects_no_samples() {
        let rejected_count = |body| match parse(400, body) {
            WriteResponse::Rejected { count, .. } => count,
            other => panic!("{other:?}"),
        };
        let body = "user=t: err: out of order exemplar. timestamp=1, series={a=\"b\"}, exemplar={}";
        assert_eq!(rejected_count(body), Some(0));
        assert_eq!(
            rejected_count("exemplar missing labels, timestamp: 1"),
            Some(0)
        );
        let sample = "err: out of order sample. timestamp=1, series={a=\"out of order exemplar\"}";
        assert_eq!(rejected_count(sample), None);
    }

    #[test]
    fn parses_retryable_responses() {
        assert!(matches!(
            parse(429, "Rate exceeded"),
            WriteResponse::Throttled { .. }
        ));
        assert!(matches!(parse(500, ""), WriteResponse::Failed { .. }));
        assert!(matches!(parse(503, ""), WriteResponse::Failed { .. }));
        assert!(matches!(parse(307, ""), WriteResponse::Failed { .. }));
        assert!(matches!(parse(408, ""), WriteResponse::Failed { .. }));
        assert!(matches!(parse(403, ""), WriteResponse::Forbidden { .. }));
    }

    #[test]
    fn samples_that_were_not_written_are_rejected() {
        let with_written_count =
            |answer: WriteResponse, written| match answer.with_written_count(10, written) {
                WriteResponse::Rejected { count, .. } => count,
                WriteResponse::Stored => Some(0),
                other => panic!("{other:?}"),
            };
        assert_eq!(with_written_count(parse(200, ""), Some(10)), Some(0));
        assert_eq!(with_written_count(parse(200, ""), Some(7)), Some(3));
        assert_eq!(with_written_count(parse(200, ""), None), Some(10));
        assert_eq!(
            with_written_count(parse(400, "out of order"), Some(7)),
            Some(3)
        );
        assert_eq!(with_written_count(parse(400, "out of order"), None), None);
    }

    #[test]
    fn parses_retry_after_as_seconds_or_a_date() {
        let after = |value: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(10))
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            after("Thu, 01 Jan 1970 00:00:15 GMT"),
            Some(Duration::from_secs(5))
        );
        assert_eq!(after("Thu, 01 Jan 1970 00:00:05 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn truncates_messages_of_the_backend() {
        let WriteResponse::Failed { message, .. } = parse(500, &"é".repeat(5000)) else {
            panic!("a failure")
        };
        assert!(message.starts_with("500 Internal Server Error: é") && message.len() < 2200);
        let WriteResponse::Rejected { message, .. } = parse(400, &"é".repeat(50_000)) else {
            panic!("a rejection")
        };
        assert!((16_000..17_000).contains(&message.len()));
    }
}
