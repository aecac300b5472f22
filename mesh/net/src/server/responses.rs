//! Follows the responses of a connection until the client has read them.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, sleep_until},
};

/// Responses of a connection that the client has not read yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Responses(Arc<Mutex<Unread>>);

/// Times at which the unread responses were ready, by number.
#[derive(Debug, Default)]
struct Unread {
    ready: BTreeMap<u64, Instant>,
    next: u64,
}

/// Body of a response. HTTP/2 polls it only while the client's window has room, and drops it
/// after its end.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    body: B,
    responses: Responses,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

// === impl Responses ===

impl Responses {
    /// Follows a response. It keeps its permit until the client has read it.
    pub(super) fn follow<B>(&self, body: B, permit: OwnedSemaphorePermit) -> ResponseBody<B> {
        let mut unread = self.0.lock();
        let number = unread.next;
        unread.next += 1;
        unread.ready.insert(number, Instant::now());
        drop(unread);
        ResponseBody {
            body,
            responses: self.clone(),
            number,
            _permit: permit,
        }
    }

    /// Waits until a response has been unread for longer than `limit`.
    pub(super) async fn unread_for(&self, limit: Duration) {
        loop {
            let oldest = self.0.lock().ready.values().next().copied();
            match oldest {
                None => sleep(limit).await,
                Some(ready) if ready.elapsed() >= limit => return,
                Some(ready) => sleep_until(ready + limit).await,
            }
        }
    }
}

// === impl ResponseBody ===

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.responses.0.lock().ready.remove(&self.number);
    }
}
