//! The user agent and the timeouts of requests to an API server.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::timeout;

/// User agent of all requests.
pub(crate) const AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));
/// Timeout of the response head. An API server cancels other requests than watches after
/// the same time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout between two frames of a body. A watch ends after 290 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(330);

/// A response body that fails if no frame arrives for [`IDLE_TIMEOUT`].
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Adds timeouts to a response: one for its head, and one between the frames of its body.
pub(crate) async fn with_timeouts<E: Into<Error>>(
    response: impl Future<Output = Result<Response<Incoming>, E>>,
) -> Result<Response<Body>, Error> {
    let response = timeout(HEAD_TIMEOUT, response).await?;
    Ok(response.map_err(Into::into)?.map(with_idle_timeout))
}

fn with_idle_timeout(body: Incoming) -> Body {
    let next = async |mut body: Incoming| -> Result<Option<(Frame<Bytes>, Incoming)>, Error> {
        match timeout(IDLE_TIMEOUT, body.frame()).await? {
            Some(frame) => Ok(Some((frame?, body))),
            None => Ok(None),
        }
    };
    StreamBody::new(stream::try_unfold(body, next)).boxed_unsync()
}
