//! What a target answers to each scrape in turn.

use bytes::Bytes;
use http::StatusCode;

use super::recording::{Capture, Recording};

/// What a target answers to one scrape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its `Content-Type`, where it has one.
    pub(super) content_type: Option<String>,
    /// Its body.
    pub(super) body: Bytes,
}

/// Plays a recording: each capture in turn, with series that disappear and come
/// back, a scrape that fails, a body that breaks off, and values that go back.
pub(super) fn of(recording: &Recording) -> Vec<Answer> {
    let captures = &recording.captures;
    let (Some(first), Some(last)) = (captures.first(), captures.last()) else {
        return Vec::new();
    };
    let mut answers: Vec<_> = captures.iter().map(Answer::whole).collect();
    answers.extend([
        Answer::half(last),
        Answer::half(last),
        Answer::whole(last),
        Answer::failure(),
        Answer::whole(last),
        Answer::torn(last),
        Answer::whole(first),
        Answer::half(first),
    ]);
    answers
}

// === impl Answer ===

impl Answer {
    /// All of it.
    pub(super) fn whole(capture: &Capture) -> Self {
        Self::with(capture, capture.body.clone())
    }

    /// The first half of the families.
    fn half(capture: &Capture) -> Self {
        Self::with(capture, capture.half())
    }

    /// A body that ends anywhere.
    fn torn(capture: &Capture) -> Self {
        let len = capture.body.len();
        Self::with(capture, capture.body.slice(..len - len / 3))
    }

    fn with(capture: &Capture, body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: capture.content_type.clone(),
            body,
        }
    }

    /// A scrape that fails.
    pub(super) fn failure() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            content_type: None,
            body: Bytes::new(),
        }
    }
}
