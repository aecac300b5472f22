//! Reads the texts of a backend's answers: the reason of a refusal, its author, and
//! `Retry-After`.
//!
//! The phrases are those of AMP's documentation and of Cortex, which AMP is based on, of
//! Mimir, Thanos and Prometheus.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use mesh_contract::verdict::Reason;

/// Phrases of rejection messages by reason, in lower case. The first match wins.
const PHRASES: &[(&str, Reason)] = &[
    ("too many ha clusters", Reason::HaClusterLimit),
    // Wording of newer Cortex versions.
    ("too many ha replicagroups", Reason::HaClusterLimit),
    // Mimir.
    ("too-many-ha-clusters", Reason::HaClusterLimit),
    ("series limit", Reason::SeriesLimit),
    ("series_limit", Reason::SeriesLimit),
    ("max-active-series", Reason::SeriesLimit),
    ("max active series", Reason::SeriesLimit),
    ("out of order", Reason::OutOfOrder),
    ("out-of-order", Reason::OutOfOrder),
    (
        "duplicate sample for timestamp",
        Reason::NewValueForTimestamp,
    ),
    ("new value for timestamp", Reason::NewValueForTimestamp),
    ("new-value-for-timestamp", Reason::NewValueForTimestamp),
    (
        "same timestamp, but a different value",
        Reason::NewValueForTimestamp,
    ),
    ("duplicate-timestamp", Reason::NewValueForTimestamp),
    ("too far in the future", Reason::TooFarInFuture),
    ("timestamp too new", Reason::TooFarInFuture),
    ("timestamp too old", Reason::TooOld),
    ("timestamp is too old", Reason::TooOld),
    ("too far in the past", Reason::TooOld),
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
    ("label-name-too-long", Reason::LabelLimit),
    ("label-value-too-long", Reason::LabelLimit),
    ("max-label-names-per-", Reason::LabelLimit),
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
    ("metric-name-invalid", Reason::InvalidName),
    ("label-invalid", Reason::InvalidLabel),
    ("duplicate-label-names", Reason::DuplicateLabel),
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

/// Marks of Cortex, AMP, Mimir and Thanos, in lower case. They store the valid samples of a
/// request before they refuse it.
const CORTEX: &[&str] = &[
    "user=",
    "err-mimir-",
    "maxfailure (quorum)",
    "code = code(",
    "per-user ",
    "per-metric ",
    "per-labelset ",
    "per_user_",
    "per_metric_",
    "per_labelset_",
    "store locally for endpoint",
    "forwarding request to endpoint",
    // Forms in which Cortex names a time, a value, a metric or a series.
    ". timestamp=",
    "(actual: ",
    " metric: \"",
    " series: '",
];

/// Storage errors of Prometheus, in lower case. Its body begins with one of them. Cortex,
/// Mimir and Thanos have them within their messages.
const PROMETHEUS: &[&str] = &[
    "out of order sample",
    "out of bounds",
    "duplicate sample for timestamp",
    "too old sample",
];

/// Returns the reason that a body states.
pub fn reason(body: &str) -> Reason {
    // A JSON body has a brace before the message.
    let found = phrase(before_series(body)).or_else(|| phrase(body));
    found.unwrap_or(Reason::Refused)
}

/// Text of a body before the first series, whose labels may contain any phrase.
fn before_series(body: &str) -> &str {
    body.split(['{', '"', '\'']).next().unwrap_or_default()
}

/// Returns true if the body has a mark of a backend that stores the valid samples of a request
/// that it refuses.
pub fn is_of_cortex(body: &str) -> bool {
    let text = before_labels(body).to_lowercase();
    CORTEX.iter().any(|mark| text.contains(mark))
}

/// Returns true if the body is a storage error of Prometheus, which refuses whole requests of
/// remote write 1.0.
pub fn is_of_prometheus(body: &str) -> bool {
    let text = body.trim_start().to_lowercase();
    PROMETHEUS.iter().any(|error| text.starts_with(error)) && !is_of_cortex(body)
}

/// Text of a body before the labels of a series. A brace of JSON at the start does not count.
fn before_labels(body: &str) -> &str {
    let body = body.trim_start();
    let body = body.strip_prefix('{').unwrap_or(body);
    body.split('{').next().unwrap_or_default()
}

/// Returns true if the body is about an exemplar, whose samples are stored.
pub fn is_of_exemplar(body: &str) -> bool {
    let text = before_series(body).to_lowercase();
    EXEMPLARS.iter().any(|phrase| text.contains(phrase))
}

fn phrase(text: &str) -> Option<Reason> {
    let text = text.to_lowercase();
    let found = PHRASES.iter().find(|(phrase, _)| text.contains(phrase));
    found.map(|(_, reason)| *reason)
}

/// Joins a status and the first characters of a body.
pub fn status_and_body(status: StatusCode, body: &str, chars: usize) -> String {
    let body: String = body.trim().chars().take(chars).collect();
    format!("{status}: {body}")
}

/// Parses `Retry-After` as seconds or as a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
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

    #[test]
    fn reads_the_reason_of_messages() {
        for (body, want) in [
            (
                "user=1: err: out of order sample. timestamp=1, series={a=\"b\"}",
                Reason::OutOfOrder,
            ),
            (
                "err: duplicate sample for timestamp. x",
                Reason::NewValueForTimestamp,
            ),
            ("out of bounds", Reason::TooOld),
            ("timestamp too old: 12 metric: \"m\"", Reason::TooOld),
            (
                "timestamp too new: 12 metric: \"m\"",
                Reason::TooFarInFuture,
            ),
            ("per-user series limit of 10 exceeded", Reason::SeriesLimit),
            (
                "series has too many labels (actual: 40, limit: 30)",
                Reason::LabelLimit,
            ),
            ("label value too long for metric: m", Reason::LabelLimit),
            ("sample invalid label: \"a-b\"", Reason::InvalidLabel),
            ("sample missing metric name", Reason::InvalidName),
            ("duplicate label name: a", Reason::DuplicateLabel),
            (
                "native histogram buckets exceeded",
                Reason::InvalidHistogram,
            ),
            ("too many HA clusters (limit: 100)", Reason::HaClusterLimit),
            ("phase of the moon", Reason::Refused),
            ("", Reason::Refused),
            // Cortex, with made-up series.
            (
                "too many HA replicaGroups (limit: 2)",
                Reason::HaClusterLimit,
            ),
            (
                "labels not sorted: \"a\" metric \"m{b=\\\"1\\\", a=\\\"2\\\"}\"",
                Reason::InvalidLabel,
            ),
            ("empty labels found", Reason::InvalidName),
            (
                "labels size bytes exceeded for metric (actual: 90, limit: 80) metric: \"m\"",
                Reason::LabelLimit,
            ),
            (
                "user=t: per-user native histogram series limit of 5 exceeded, ask (local limit: 5)",
                Reason::SeriesLimit,
            ),
            (
                "user=t: per-labelset series limit of 5 exceeded (labelSet: x) for series {a=\"b\"}",
                Reason::SeriesLimit,
            ),
            (
                "native histogram bucket count exceeded for metric (limit: 2) metric: \"m\"",
                Reason::InvalidHistogram,
            ),
            (
                "invalid native histogram schema 9 for metric: \"m\". supported schema from -4 to 8",
                Reason::InvalidHistogram,
            ),
            // AMP.
            (
                "user=1_ws: per-user series limit (local limit: 0 global limit: 9 actual local limit: 5) exceeded",
                Reason::SeriesLimit,
            ),
            (
                "ingestion rate limit (6666.6) exceeded while adding 499 samples and 0 metadata",
                Reason::Refused,
            ),
            // Mimir.
            (
                "the sample's timestamp is too old (err-mimir-sample-timestamp-too-old)",
                Reason::TooOld,
            ),
            (
                "sample with the same timestamp, but a different value (err-mimir-sample-duplicate-timestamp)",
                Reason::NewValueForTimestamp,
            ),
            (
                "too many series (err-mimir-max-active-series)",
                Reason::SeriesLimit,
            ),
            (
                "the tenant exceeded the ingestion rate limit, set to 5 items/s (err-mimir-tenant-max-ingestion-rate)",
                Reason::Refused,
            ),
        ] {
            assert_eq!(reason(body), want, "{body}");
        }
    }

    #[test]
    fn ignores_labels_of_the_named_series() {
        let body = "user=t: err: out of bounds. timestamp=1, series={why=\"series limit\"}";
        assert_eq!(reason(body), Reason::TooOld);
        let json = r#"{"message": "per-user series limit of 10 exceeded"}"#;
        assert_eq!(reason(json), Reason::SeriesLimit);
        assert!(is_of_cortex(json));
        assert!(!is_of_cortex(
            "out of order sample for series {user=\"user=1\"}"
        ));
    }

    #[test]
    fn tells_backends_apart_by_their_words() {
        for (body, cortex, prometheus) in [
            ("out of order sample\n", false, true),
            ("too old sample", false, true),
            (
                "duplicate sample for timestamp; overrides not allowed: existing 1, new value 2",
                false,
                true,
            ),
            (
                "user=1: err: out of order sample. timestamp=1, series={a=\"b\"}",
                true,
                false,
            ),
            (
                "the sample is out-of-order (err-mimir-sample-out-of-order)",
                true,
                false,
            ),
            (
                "series has too many labels (actual: 40, limit: 30) series: 'm'",
                true,
                false,
            ),
            (
                "store locally for endpoint a:1: add 3 samples: out of order sample",
                true,
                false,
            ),
            ("invalid label", false, false),
            ("Bad Request", false, false),
        ] {
            assert_eq!(
                (is_of_cortex(body), is_of_prometheus(body)),
                (cortex, prometheus),
                "{body}"
            );
        }
    }

    #[test]
    fn recognizes_errors_of_exemplars() {
        let body = "user=t: err: out of order exemplar. timestamp=1, series={a=\"b\"}, exemplar={}";
        assert!(is_of_exemplar(body));
        assert!(is_of_exemplar("exemplar missing labels, timestamp: 1"));
        let sample = "err: out of order sample. timestamp=1, series={a=\"out of order exemplar\"}";
        assert!(!is_of_exemplar(sample));
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
}
