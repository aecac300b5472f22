//! Facts that a backend's answers have shown: its protocol, its handling of refused requests,
//! and the size of requests that it accepts.

use std::time::Duration;

use mesh_model::config::remote_write::ProtobufMessage;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::table::{Action, Answer, Extent};

/// Facts about one backend.
#[derive(Debug)]
pub struct Knowledge {
    /// Configured protocol.
    configured: ProtobufMessage,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// True once the backend has answered with the headers of remote write 2.0.
    speaks_v2: bool,
    /// Time of the next attempt with remote write 2.0, after a fallback.
    retry_v2_at: Option<Instant>,
    extent: Extent,
    /// Time of the last stored sample.
    stored_at: Option<Instant>,
    /// Maximum size of a request after a 413.
    size_limit: Option<SizeLimit>,
    answered: bool,
    /// Error of the last request that got no answer about its samples. `None` after a stored
    /// sample.
    error: Option<Failure>,
}

/// Maximum size of a request, for some time.
#[derive(Clone, Copy, Debug)]
struct SizeLimit {
    /// Size in bytes, before compression.
    bytes: usize,
    until: Instant,
}

/// Failure of the last request.
#[derive(Clone, Debug)]
struct Failure {
    message: String,
    is_hold: bool,
}

/// Time after a fallback until the next attempt with remote write 2.0.
const RETRY_V2_AFTER: Duration = Duration::from_secs(3600);
/// Time after a stored sample during which the address, the token and the tenant count as
/// right.
const WORKS_FOR: Duration = Duration::from_secs(300);
/// Time after a 413 during which the size of requests is limited.
const SIZE_LIMIT_FOR: Duration = Duration::from_secs(600);
/// Lowest limit of the size. A backend that refuses less refuses it for another reason.
const MIN_SIZE_LIMIT: usize = 16 << 10;

// === impl Knowledge ===

impl Knowledge {
    /// Knows nothing yet.
    pub fn new(configured: ProtobufMessage) -> Self {
        Self {
            configured,
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Protocol of the requests now.
    pub fn protocol(&self) -> ProtobufMessage {
        match self.has_fallen_back() {
            true => ProtobufMessage::V1,
            false => self.configured,
        }
    }

    /// Returns true while remote write 1.0 is used in place of 2.0.
    pub fn has_fallen_back(&self) -> bool {
        self.state().retry_v2_at.is_some()
    }

    /// Protocol of the next request. One request an hour tries remote write 2.0 again.
    pub fn next_protocol(&self, now: Instant) -> ProtobufMessage {
        let mut state = self.state();
        match &mut state.retry_v2_at {
            Some(at) if now < *at => ProtobufMessage::V1,
            Some(at) => {
                *at = now + RETRY_V2_AFTER;
                self.configured
            }
            None => self.configured,
        }
    }

    /// Records that the backend stored with remote write 1.0 what it did not with 2.0.
    pub fn record_fallback(&self, message: &str, now: Instant) {
        let next = now + RETRY_V2_AFTER;
        if self.state().retry_v2_at.replace(next).is_some() {
            return debug!(
                error = message,
                "Backend still does not support remote write 2.0"
            );
        }
        warn!(
            error = message,
            retry_after = ?RETRY_V2_AFTER,
            "Backend does not support remote write 2.0; falling back to 1.0"
        );
    }

    /// Records an answer to a request with samples, and the action on it.
    pub fn record(&self, answer: &Answer<'_>, action: &Action, now: Instant) {
        let mut state = self.state();
        state.answered = true;
        if action.is_stored() {
            state.stored_at = Some(now);
            state.error = None;
        }
        if answer.is_of_v2() && answer.status.is_success() {
            state.speaks_v2 = true;
            if state.retry_v2_at.take().is_some() {
                info!("Backend supports remote write 2.0");
            }
        }
        let Some(extent) = answer.shows_extent() else {
            return;
        };
        if std::mem::replace(&mut state.extent, extent) != extent {
            let rejects_whole_requests = extent == Extent::WholeRequest;
            info!(rejects_whole_requests, "Backend refused a sample");
        }
    }

    /// Records that a request got no answer about its samples. `is_hold` is true if the
    /// backend refuses requests as such.
    pub fn record_failure(&self, message: String, is_hold: bool) {
        self.state().error = Some(Failure { message, is_hold });
    }

    /// Error of a backend that failed and has never answered since the start.
    pub fn silence(&self) -> Option<String> {
        let state = self.state();
        let error = state.error.as_ref().filter(|_| !state.answered);
        error.map(|error| error.message.clone())
    }

    /// Describes the state of the destination in one line.
    pub fn describe(&self, now: Instant) -> String {
        let protocol = match (self.configured, self.has_fallen_back()) {
            (ProtobufMessage::V1, _) => "remote write 1.0",
            (ProtobufMessage::V2, false) => "remote write 2.0",
            (ProtobufMessage::V2, true) => "remote write 1.0, since the backend lacks 2.0",
        };
        let state = self.state();
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        match (&state.error, state.answered) {
            (None, false) => "no request yet".to_owned(),
            (None, true) => format!("answers, {protocol}"),
            (Some(error), false) => format!(
                "has not answered since the start {} s ago: {}",
                seconds(self.started),
                error.message
            ),
            (Some(error), true) if error.is_hold => format!("on hold: {}", error.message),
            (Some(error), true) => format!("fails: {}", error.message),
        }
    }

    /// Records that the backend refused a request of `bytes` as too large.
    pub fn record_too_large(&self, bytes: usize, now: Instant) {
        let bytes = (bytes / 2).max(MIN_SIZE_LIMIT).min(self.max_bytes(now));
        let until = now + SIZE_LIMIT_FOR;
        let limit = SizeLimit { bytes, until };
        let before = self.state().size_limit.replace(limit);
        if before.is_none_or(|before| before.bytes != bytes) {
            info!(bytes, "Backend refuses large requests; limiting their size");
        }
    }

    /// Maximum size of a request in bytes, before compression.
    pub fn max_bytes(&self, now: Instant) -> usize {
        let limit = self.state().size_limit.filter(|limit| now < limit.until);
        limit.map_or(usize::MAX, |limit| limit.bytes)
    }

    /// Handling of the valid samples in a refused request.
    pub fn extent(&self) -> Extent {
        self.state().extent
    }

    /// Returns true once the backend has answered with the headers of remote write 2.0.
    pub fn speaks_v2(&self) -> bool {
        self.state().speaks_v2
    }

    /// Returns true if the backend has stored a sample within the last minutes.
    pub fn works(&self, now: Instant) -> bool {
        let stored_at = self.state().stored_at;
        stored_at.is_some_and(|at| now.saturating_duration_since(at) < WORKS_FOR)
    }

    /// Returns true if the backend has answered a request with samples.
    pub fn has_answered(&self) -> bool {
        self.state().answered
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
