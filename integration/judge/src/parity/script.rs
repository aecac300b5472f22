//! Scripted responses of a target, one for each scrape.

use bytes::Bytes;
use http::StatusCode;

use super::recording::{Capture, Recording};

/// Response to one scrape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// Status code.
    pub(super) status: StatusCode,
    /// `Content-Type` header.
    pub(super) content_type: Option<String>,
    /// Body.
    pub(super) body: Bytes,
}

/// Script for a recording: each capture in turn, then series that disappear and come back,
/// a failed scrape, a truncated body, and values that decrease.
pub(super) fn of(recording: &Recording) -> Vec<Reply> {
    let captures = &recording.captures;
    let (Some(first), Some(last)) = (captures.first(), captures.last()) else {
        return Vec::new();
    };
    let mut replies: Vec<_> = captures.iter().map(Reply::whole).collect();
    replies.extend([
        Reply::half(last),
        Reply::half(last),
        Reply::whole(last),
        Reply::failure(),
        Reply::whole(last),
        Reply::truncated(last),
        Reply::whole(first),
        Reply::half(first),
    ]);
    replies
}

// === impl Reply ===

impl Reply {
    /// The whole body.
    pub(super) fn whole(capture: &Capture) -> Self {
        Self::with(capture, capture.body.clone())
    }

    /// The first half of the families.
    fn half(capture: &Capture) -> Self {
        Self::with(capture, capture.half())
    }

    /// A body that ends in the middle of a line.
    fn truncated(capture: &Capture) -> Self {
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

    /// A failed scrape.
    pub(super) fn failure() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            content_type: None,
            body: Bytes::new(),
        }
    }
}
