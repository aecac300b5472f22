//! The user agent and the timeouts of requests to an API server.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::{Instant, timeout};

use mesh_net::http_client::ResponseBody;

use super::connections::Connections;

/// User agent of all requests.
pub(crate) const AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));
/// Timeout of the response head of a list. An API server cancels requests other than watches
/// after the same time.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of the response head of a watch. An API server sends it before the first event.
const WATCH_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout between two frames of a body. A watch ends after 290 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(330);
/// Minimum duration of a watch without events. One that ends sooner counts as failed,
/// since the client would otherwise repeat it without a pause.
const MIN_WATCH: Duration = Duration::from_secs(1);

/// A response body that fails if no frame arrives for [`IDLE_TIMEOUT`].
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The API server ended a watch without an event at once.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the API server ended the watch at once")]
pub(crate) struct EndedAtOnce;

/// The response body of a request and the stream that it occupies.
struct Reading<S> {
    body: ResponseBody,
    _stream: S,
    /// Start of a watch that has sent nothing yet.
    silent_since: Option<Instant>,
}

/// Sends a request over one of the `connections`. Adds timeouts to the response: one for its
/// head, and one between the frames of its body.
pub(crate) async fn send<C, B, E, F>(
    connections: &Connections<C>,
    request: Request<B>,
    send: impl FnOnce(C, Request<B>) -> F,
) -> Result<Response<Body>, Error>
where
    C: Clone + Send + Sync + 'static,
    E: Into<Error>,
    F: Future<Output = Result<Response<ResponseBody>, E>>,
{
    let is_watch = is_watch(&request);
    let limit = if is_watch {
        WATCH_START_TIMEOUT
    } else {
        LIST_TIMEOUT
    };
    let sent = connections.request(limit, |client| send(client, request));
    let (response, stream) = sent.await?;
    let is_watch = is_watch && response.status().is_success();
    Ok(response.map(|body| {
        let reading = Reading {
            body,
            _stream: stream,
            silent_since: is_watch.then(Instant::now),
        };
        StreamBody::new(stream::try_unfold(reading, Reading::next)).boxed_unsync()
    }))
}

/// Returns true if a request starts a watch.
pub(crate) fn is_watch<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|parameter| parameter == "watch=true")
}

// === impl Reading ===

impl<S> Reading<S> {
    async fn next(mut self) -> Result<Option<(Frame<Bytes>, Self)>, Error> {
        match timeout(IDLE_TIMEOUT, self.body.frame()).await? {
            Some(frame) => {
                self.silent_since = None;
                Ok(Some((frame?, self)))
            }
            None => match self.silent_since {
                Some(start) if start.elapsed() < MIN_WATCH => Err(EndedAtOnce.into()),
                _ => Ok(None),
            },
        }
    }
}
