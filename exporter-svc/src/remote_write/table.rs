//! Table of answers: status × protocol → action.
//!
//! [`TABLE`] says for each answer of a backend what the exporter does with the request. The
//! first row that matches applies. `docs/backends.md` shows the same rows; a test compares
//! them. How a text is read is in [`super::response`].

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use mesh_contract::verdict::Reason;
use mesh_model::config::remote_write::ProtobufMessage;

use super::response;

/// Answer of a backend to one request, and facts known of the backend before it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Protocol of the request.
    pub protocol: ProtobufMessage,
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Body.
    pub body: &'a str,
    /// Number of samples in the request.
    pub sent: u64,
    /// True if the backend has answered 2.0 with the headers of 2.0 before.
    pub confirmed_v2: bool,
    /// Handling of the valid samples in a refused request, by earlier answers.
    pub extent: Extent,
    /// Time of the answer.
    pub now: SystemTime,
}

/// Handling of the valid samples in a refused request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// No answer has shown it.
    #[default]
    Unknown,
    /// The backend stores the valid samples, as Cortex, Mimir, AMP and Thanos do.
    StoresRest,
    /// The backend stores nothing, as Prometheus does with remote write 1.0.
    WholeRequest,
}

/// Action of the exporter on an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All samples count as stored.
    Stored,
    /// All samples count as another replica's copies.
    Deduplicated,
    /// The rejected samples count as rejected and the others as stored.
    StoredInPart {
        /// Reason of the rejection.
        reason: Reason,
        /// Number of rejected samples, if the backend gave it.
        count: Option<u64>,
        /// Message of the backend.
        message: String,
    },
    /// The samples are posted again in smaller requests, to find those that are refused.
    Split(Refusal),
    /// The samples are posted again with remote write 1.0.
    FallBack {
        /// Message of the backend.
        message: String,
    },
    /// The sender retries; the exporter pauses.
    Throttled {
        /// Delay that the backend asked for.
        after: Option<Duration>,
        /// Message of the backend.
        message: String,
    },
    /// The sender retries; the exporter backs off.
    Failed {
        /// Delay that the backend asked for.
        after: Option<Duration>,
        /// Message of the backend.
        message: String,
    },
    /// The sender keeps the samples; the exporter tries one request now and then.
    Hold {
        /// Status code.
        status: StatusCode,
        /// Message of the backend.
        message: String,
        /// True if the backend refuses requests without samples too.
        refuses_empty: bool,
    },
}

/// Refusal of a request of which nothing is known to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason, as far as the message tells it.
    pub reason: Reason,
    /// Message of the backend.
    pub message: String,
}

/// Row of the table.
#[derive(Debug)]
pub struct Row {
    /// Answers of the row, for the documentation.
    pub answer: &'static str,
    /// Versions of remote write, for the documentation.
    pub protocol: &'static str,
    /// Action of the row, for the documentation.
    pub does: &'static str,
    matches: fn(&Answer<'_>) -> bool,
    action: fn(&Answer<'_>) -> Action,
}

/// Maximum length of a message in characters; messages travel in headers.
const MESSAGE_CHARS: usize = 1024;
/// Maximum length of a rejection message in characters. It is longer because it ends
/// with the labels of the rejected series, which the attribution needs.
const REJECTION_CHARS: usize = 8 * 1024;
/// Response headers with the number of samples and native histograms that a 2.0 backend
/// wrote.
const WRITTEN: [&str; 2] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
];

/// The table. The first row that matches applies; the last one matches every answer.
pub const TABLE: [Row; 14] = [
    Row {
        answer: "202 (2.0: with a text that names the HA replica, or with the headers of 2.0)",
        protocol: "1.0, 2.0",
        does: "count all samples as deduplicated: another replica of the HA pair is elected",
        matches: |a| a.status == StatusCode::ACCEPTED && (a.understood() || a.names_replica()),
        action: |_| Action::Deduplicated,
    },
    Row {
        answer: "other 2xx",
        protocol: "1.0",
        does: "count all samples as stored",
        matches: |a| a.status.is_success() && !a.is_v2(),
        action: |_| Action::Stored,
    },
    Row {
        answer: "other 2xx with `X-Prometheus-Remote-Write-*-Written`",
        protocol: "2.0",
        does: "count as many samples as stored as the headers say, the others as refused",
        matches: |a| a.status.is_success() && a.written().is_some(),
        action: |a| a.stored_as_written(),
    },
    Row {
        answer: "2xx without these headers; 415",
        protocol: "2.0",
        does: "post the same samples with 1.0; log it once; try 2.0 again after an hour",
        matches: |a| {
            a.is_v2() && (a.status.is_success() || a.status == StatusCode::UNSUPPORTED_MEDIA_TYPE)
        },
        action: |a| Action::FallBack {
            message: a.message(),
        },
    },
    Row {
        answer: "400, 409, 422 with these headers",
        protocol: "2.0",
        does: "count as many samples as stored as the headers say, the others as refused",
        matches: |a| a.refuses_data() && a.is_v2() && a.written().is_some(),
        action: |a| a.stored_as_written(),
    },
    Row {
        answer: "400 without these headers and without a known reason, before the first success of 2.0",
        protocol: "2.0",
        does: "as 415",
        matches: |a| {
            a.is_v2()
                && !a.confirmed_v2
                && a.status == StatusCode::BAD_REQUEST
                && a.reason() == Reason::Refused
                && !response::is_of_cortex(a.body)
        },
        action: |a| Action::FallBack {
            message: a.message(),
        },
    },
    Row {
        answer: "400, 409, 422 because of an exemplar",
        protocol: "1.0, 2.0",
        does: "count all samples as stored: only the exemplar is refused",
        matches: |a| a.refuses_data() && response::is_of_exemplar(a.body),
        action: |a| a.stored_in_part(Some(0)),
    },
    Row {
        answer: "400, 409, 422, and 429 that names a limit on series, in the words of Cortex, Mimir, AMP or Thanos",
        protocol: "1.0, 2.0",
        does: "count the named samples as refused, the others as stored: the backend has stored them",
        matches: |a| a.refuses_samples() && a.stores_rest(),
        action: |a| a.stored_in_part(None),
    },
    Row {
        answer: "400, 409, 422, and 429 that names a limit on series, in other words; 413",
        protocol: "1.0, 2.0",
        does: "split: post smaller and smaller requests until only what is refused is left; \
               count that as refused. Before the first success, an empty request tells \
               whether the backend refuses everything; then hold",
        matches: |a| a.refuses_samples() || a.status == StatusCode::PAYLOAD_TOO_LARGE,
        action: |a| {
            Action::Split(Refusal {
                reason: match a.status {
                    StatusCode::PAYLOAD_TOO_LARGE => Reason::TooLarge,
                    _ => a.reason(),
                },
                message: a.rejection(),
            })
        },
    },
    Row {
        answer: "other 429",
        protocol: "1.0, 2.0",
        does: "retry after `Retry-After` (seconds or a date), else with exponential backoff",
        matches: |a| a.status == StatusCode::TOO_MANY_REQUESTS,
        action: |a| Action::Throttled {
            after: response::retry_after(a.headers, a.now),
            message: a.message(),
        },
    },
    Row {
        answer: "5xx, 408, 425; no answer; a broken connection",
        protocol: "1.0, 2.0",
        does: "retry after `Retry-After` (seconds or a date), else with exponential backoff",
        matches: |a| {
            a.status.is_server_error()
                || a.status == StatusCode::REQUEST_TIMEOUT
                || a.status == StatusCode::TOO_EARLY
        },
        action: |a| Action::Failed {
            after: response::retry_after(a.headers, a.now),
            message: a.message(),
        },
    },
    Row {
        answer: "307, 308",
        protocol: "1.0, 2.0",
        does: "repeat the POST at the new address; with a signature or `follow_redirects: false` hold",
        matches: |a| {
            a.status == StatusCode::TEMPORARY_REDIRECT || a.status == StatusCode::PERMANENT_REDIRECT
        },
        action: |a| a.hold(),
    },
    Row {
        answer: "301, 302, 303",
        protocol: "1.0, 2.0",
        does: "hold: this is no delivery, whatever the page behind answers",
        matches: |a| a.status.is_redirection(),
        action: |a| a.hold(),
    },
    Row {
        answer: "401, 403, 404, 405, 407, 411, 415 (1.0) and every other status",
        protocol: "1.0, 2.0",
        does: "hold: keep the samples up to the age limit of the outbox, try one request after \
               3.5 s, then every 5 s; go on when one is stored",
        matches: |_| true,
        action: |a| a.hold(),
    },
];

// === impl Action ===

impl Action {
    /// Returns true if the backend stored or deduplicated samples of the request.
    pub fn is_stored(&self) -> bool {
        matches!(
            self,
            Self::Stored | Self::Deduplicated | Self::StoredInPart { .. }
        )
    }
}

// === impl Answer ===

impl Answer<'_> {
    /// Returns the action of the first row that matches.
    pub fn action(&self) -> Action {
        let row = TABLE.iter().find(|row| (row.matches)(self));
        row.map_or_else(|| self.hold(), |row| (row.action)(self))
    }

    /// Returns true if the answer counts what was written, as 2.0 requires.
    pub fn is_of_v2(&self) -> bool {
        self.is_v2() && self.written().is_some()
    }

    /// Handling of the valid samples in a refused request, if this answer shows it.
    pub fn shows_extent(&self) -> Option<Extent> {
        if !self.refuses_samples() || response::is_of_exemplar(self.body) || self.is_of_v2() {
            None
        } else if response::is_of_cortex(self.body) {
            Some(Extent::StoresRest)
        } else if response::is_of_prometheus(self.body) {
            Some(Extent::WholeRequest)
        } else {
            None
        }
    }

    fn is_v2(&self) -> bool {
        self.protocol == ProtobufMessage::V2
    }

    /// Returns true if the backend certainly understood the protocol.
    fn understood(&self) -> bool {
        !self.is_v2() || self.written().is_some()
    }

    fn names_replica(&self) -> bool {
        self.body.to_lowercase().contains("replica")
    }

    /// Number of written samples and native histograms.
    fn written(&self) -> Option<u64> {
        let count = |name: &&str| self.headers.get(*name)?.to_str().ok()?.parse::<u64>().ok();
        let counts = WRITTEN.iter().map(count);
        counts.flatten().reduce(u64::saturating_add)
    }

    fn reason(&self) -> Reason {
        response::reason(self.body)
    }

    fn refuses_data(&self) -> bool {
        matches!(
            self.status,
            StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY
        )
    }

    /// Returns true if the backend refuses samples, not the request as such.
    fn refuses_samples(&self) -> bool {
        // Cortex, Mimir and AMP use 429 for new series beyond the limit too.
        let limit =
            self.status == StatusCode::TOO_MANY_REQUESTS && self.reason() == Reason::SeriesLimit;
        self.refuses_data() || limit
    }

    /// Returns true if the backend has stored the valid samples.
    fn stores_rest(&self) -> bool {
        // Storage errors of Prometheus are part of the messages of Cortex.
        let known = self.extent == Extent::StoresRest && self.reason() != Reason::Refused;
        response::is_of_cortex(self.body) || known && !response::is_of_prometheus(self.body)
    }

    fn stored_as_written(&self) -> Action {
        let written = self.written().unwrap_or(0);
        let missing = self.sent.saturating_sub(written);
        let is_success = self.status.is_success();
        if is_success && missing == 0 {
            return Action::Stored;
        }
        Action::StoredInPart {
            reason: self.reason(),
            count: Some(missing),
            message: match is_success {
                true => format!("{written} of {} samples written", self.sent),
                false => self.rejection(),
            },
        }
    }

    fn stored_in_part(&self, count: Option<u64>) -> Action {
        Action::StoredInPart {
            reason: self.reason(),
            count,
            message: self.rejection(),
        }
    }

    fn hold(&self) -> Action {
        let location = self.headers.get(http::header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        Action::Hold {
            status: self.status,
            message: match location.filter(|_| self.status.is_redirection()) {
                Some(location) => format!(
                    "{}: redirect to {location}; set the url of the destination to its final address",
                    self.status
                ),
                None => self.message(),
            },
            refuses_empty: false,
        }
    }

    fn message(&self) -> String {
        response::status_and_body(self.status, self.body, MESSAGE_CHARS)
    }

    fn rejection(&self) -> String {
        response::status_and_body(self.status, self.body, REJECTION_CHARS)
    }
}

#[cfg(test)]
mod tests;
