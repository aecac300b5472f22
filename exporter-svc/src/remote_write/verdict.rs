//! What the backend's answer means for the samples it answered.
//!
//! The table follows AMP's documentation and Cortex, of which AMP was made; what
//! Prometheus answers fits in it too.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use mesh::verdict::Reason;

/// What the backend said of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it is stored.
    Stored,
    /// None of it is: another replica is the elected one.
    Deduplicated,
    /// Some or all of it was refused for good; the rest is stored.
    Rejected {
        /// Why.
        reason: Reason,
        /// How many samples, where the backend said so.
        count: Option<u64>,
        /// The backend's own words.
        message: String,
    },
    /// The backend takes less than it is sent.
    Throttled {
        /// How long it wants to be left alone, where it said so.
        after: Option<Duration>,
        /// The backend's own words.
        message: String,
    },
    /// The backend is unwell.
    Failed {
        /// How long it wants to be left alone, where it said so.
        after: Option<Duration>,
        /// The backend's own words.
        message: String,
    },
    /// The signature, the credentials or their permissions are not accepted.
    Forbidden {
        /// The backend's own words.
        message: String,
    },
}

/// How much of a body is kept in messages that travel in headers.
const MESSAGE_CHARS: usize = 1024;
/// How much of a refusal is kept: it ends with the series, by whose labels it is
/// counted, and they may be many.
const REFUSAL_CHARS: usize = 8 * 1024;

/// Phrases of refusals by reason, in lower case; the first that is found counts.
const PHRASES: &[(&str, Reason)] = &[
    ("too many ha clusters", Reason::HaClusterLimit),
    // What newer versions of Cortex call them.
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

/// Complaints about exemplars, in lower case. The samples they hang on are stored.
const EXEMPLARS: &[&str] = &[
    "out of order exemplar",
    "exemplar missing",
    "exemplar combined labelset",
    "exemplars not ingested",
];

// === impl Answer ===

impl Answer {
    /// Reads an answer.
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &str, now: SystemTime) -> Self {
        let message = || start(status, body, MESSAGE_CHARS);
        let refusal = || start(status, body, REFUSAL_CHARS);
        let after = || retry_after(headers, now);
        match status {
            StatusCode::ACCEPTED => Self::Deduplicated,
            _ if status.is_success() => Self::Stored,
            StatusCode::FORBIDDEN => Self::Forbidden { message: message() },
            // Cortex refuses new series beyond the limit with this status too.
            // The rest of the request is stored, so it is no reason to come back.
            StatusCode::TOO_MANY_REQUESTS if reason(body) == Reason::SeriesLimit => {
                Self::Rejected {
                    reason: Reason::SeriesLimit,
                    count: None,
                    message: refusal(),
                }
            }
            StatusCode::TOO_MANY_REQUESTS => Self::Throttled {
                after: after(),
                message: message(),
            },
            StatusCode::PAYLOAD_TOO_LARGE => Self::Rejected {
                reason: Reason::TooLarge,
                count: None,
                message: refusal(),
            },
            StatusCode::REQUEST_TIMEOUT => Self::Failed {
                after: after(),
                message: message(),
            },
            _ if status.is_client_error() => Self::Rejected {
                reason: reason(body),
                count: is_of_exemplar(body).then_some(0),
                message: refusal(),
            },
            // A redirect too: it cannot be followed with the same signature.
            _ => Self::Failed {
                after: after(),
                message: message(),
            },
        }
    }

    /// Takes into account how many of the samples `sent` a remote-write 2.0
    /// backend says it has `written`. One that does not say so has not understood
    /// the request (Remote-Write 2.0, "Required Written Response Headers").
    pub fn counted(self, sent: u64, written: Option<u64>) -> Self {
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
    // A body that is JSON begins with what would be a series elsewhere.
    let found = phrase(own_words(body)).or_else(|| phrase(body));
    found.unwrap_or(Reason::Refused)
}

/// What a body says before it names a series, whose labels may say anything.
fn own_words(body: &str) -> &str {
    body.split(['{', '"', '\'']).next().unwrap_or_default()
}

fn is_of_exemplar(body: &str) -> bool {
    let words = own_words(body).to_lowercase();
    EXEMPLARS.iter().any(|phrase| words.contains(phrase))
}

fn phrase(text: &str) -> Option<Reason> {
    let text = text.to_lowercase();
    let found = PHRASES.iter().find(|(phrase, _)| text.contains(phrase));
    found.map(|(_, reason)| *reason)
}

fn start(status: StatusCode, body: &str, chars: usize) -> String {
    let body: String = body.trim().chars().take(chars).collect();
    format!("{status}: {body}")
}

/// `Retry-After` as seconds or as a date (RFC 9110, 10.2.3).
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

    fn read(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer::read(status, &HeaderMap::new(), body, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn successes() {
        assert_eq!(read(200, ""), Answer::Stored);
        assert_eq!(read(204, ""), Answer::Stored);
        assert_eq!(read(202, "replicas did not match"), Answer::Deduplicated);
    }

    #[test]
    fn refusals_have_their_reason() {
        let is = |status, body, want| match read(status, body) {
            Answer::Rejected { reason, .. } => assert_eq!(reason, want, "{body}"),
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
    fn what_cortex_says_has_its_reason() {
        let is = |body, want| match read(400, body) {
            Answer::Rejected { reason, count, .. } => {
                assert_eq!((reason, count), (want, None), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        };
        // Its words, with series of ours.
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
    fn the_labels_of_the_series_that_is_named_say_nothing() {
        let body = "user=t: err: out of bounds. timestamp=1, series={why=\"series limit\"}";
        let Answer::Rejected { reason, .. } = read(400, body) else {
            panic!("a refusal")
        };
        assert_eq!(reason, Reason::TooOld);
        let json = r#"{"message": "per-user series limit of 10 exceeded"}"#;
        let Answer::Rejected { reason, .. } = read(400, json) else {
            panic!("a refusal")
        };
        assert_eq!(reason, Reason::SeriesLimit);
    }

    #[test]
    fn the_samples_of_a_refused_exemplar_are_stored() {
        let refused = |body| match read(400, body) {
            Answer::Rejected { count, .. } => count,
            other => panic!("{other:?}"),
        };
        let body = "user=t: err: out of order exemplar. timestamp=1, series={a=\"b\"}, exemplar={}";
        assert_eq!(refused(body), Some(0));
        assert_eq!(refused("exemplar missing labels, timestamp: 1"), Some(0));
        let sample = "err: out of order sample. timestamp=1, series={a=\"out of order exemplar\"}";
        assert_eq!(refused(sample), None);
    }

    #[test]
    fn what_comes_again_is_told_apart() {
        assert!(matches!(
            read(429, "Rate exceeded"),
            Answer::Throttled { .. }
        ));
        assert!(matches!(read(500, ""), Answer::Failed { .. }));
        assert!(matches!(read(503, ""), Answer::Failed { .. }));
        assert!(matches!(read(307, ""), Answer::Failed { .. }));
        assert!(matches!(read(408, ""), Answer::Failed { .. }));
        assert!(matches!(read(403, ""), Answer::Forbidden { .. }));
    }

    #[test]
    fn what_was_not_written_was_refused() {
        let counted = |answer: Answer, written| match answer.counted(10, written) {
            Answer::Rejected { count, .. } => count,
            Answer::Stored => Some(0),
            other => panic!("{other:?}"),
        };
        assert_eq!(counted(read(200, ""), Some(10)), Some(0));
        assert_eq!(counted(read(200, ""), Some(7)), Some(3));
        assert_eq!(counted(read(200, ""), None), Some(10));
        assert_eq!(counted(read(400, "out of order"), Some(7)), Some(3));
        assert_eq!(counted(read(400, "out of order"), None), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
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
    fn the_backend_s_words_are_kept_up_to_a_length() {
        let Answer::Failed { message, .. } = read(500, &"é".repeat(5000)) else {
            panic!("a failure")
        };
        assert!(message.starts_with("500 Internal Server Error: é") && message.len() < 2200);
        let Answer::Rejected { message, .. } = read(400, &"é".repeat(50_000)) else {
            panic!("a refusal")
        };
        assert!((16_000..17_000).contains(&message.len()));
    }
}
