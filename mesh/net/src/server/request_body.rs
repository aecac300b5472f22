//! Body of a request, whose rest is discarded if the handler does not read it.
//!
//! An HTTP/1.1 client may write its whole request before it reads. If the server responded and
//! closed the connection in the middle of the body, the client's write would fail, and the client
//! would never see why it was refused. HTTP/2 has RST_STREAM(NO_ERROR) for this.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Version, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

use super::{ServeMetrics, metrics::CloseReason};

/// Limits for the part of an HTTP/1.1 request body that the server discards after an early
/// response. Beyond them the server closes the connection.
#[derive(Clone, Copy, Debug)]
pub struct DiscardLimits {
    /// Maximum number of bytes.
    pub max_bytes: u64,
    /// Maximum time.
    pub timeout: Duration,
}

/// Body of a request. Dropping it before its end discards the rest in the background, within
/// [`DiscardLimits`].
#[derive(Debug)]
pub struct RequestBody {
    body: Option<Incoming>,
    discard: Option<Arc<Discard>>,
    /// Set while the client waits for a 100 (Continue) before it sends the body.
    waits_for_continue: bool,
}

/// Discards the unread part of bodies.
#[derive(Debug)]
pub(super) struct Discard {
    pub(super) limits: DiscardLimits,
    pub(super) metrics: ServeMetrics,
}

// === impl DiscardLimits ===

impl Default for DiscardLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            timeout: Duration::from_secs(30),
        }
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// Wraps the body of a request.
    pub(super) fn wrap(request: Request<Incoming>, discard: &Arc<Discard>) -> Request<Self> {
        let is_http1 = request.version() < Version::HTTP_2;
        let waits_for_continue = expects_continue(request.headers());
        request.map(|body| Self {
            body: Some(body),
            discard: is_http1.then(|| discard.clone()),
            waits_for_continue,
        })
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let expected = headers.get(EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Reading the body sends the 100 (Continue).
        self.waits_for_continue = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // A client that still waits for a 100 (Continue) reads the response first.
        if self.waits_for_continue || self.is_end_stream() {
            return;
        }
        if let (Some(body), Some(discard)) = (self.body.take(), self.discard.take())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { discard.rest_of(body).await });
        }
    }
}

// === impl Discard ===

impl Discard {
    /// Reads a body until its end, a limit, or the end of the connection. hyper closes a
    /// connection whose body is dropped before its end.
    async fn rest_of(&self, mut body: Incoming) {
        let reading = read_at_most(&mut body, self.limits.max_bytes);
        if timeout(self.limits.timeout, reading).await != Ok(true) {
            self.metrics.closed(CloseReason::BodyLimit);
        }
    }
}

/// Reads a body. Returns false if it is longer than `left` bytes.
async fn read_at_most(body: &mut Incoming, mut left: u64) -> bool {
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
