//! The body of a response.

use std::{
    any::Any,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Body of a response. Its request is in flight until it is dropped.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    /// Place on an HTTP/2 connection.
    _stream: Option<Box<dyn Any + Send + Sync>>,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new<S: Any + Send + Sync>(incoming: Incoming, stream: Option<S>) -> Self {
        let stream = stream.map(|stream| Box::new(stream) as Box<dyn Any + Send + Sync>);
        Self {
            incoming,
            _stream: stream,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
