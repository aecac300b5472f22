//! No request waits for ever.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::time::timeout;

/// As long as an API server lets a request run that is no watch.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than a watch lives (290 s) without a word from the API server.
const IDLE_TIMEOUT: Duration = Duration::from_secs(330);

/// A body that fails once nothing has come for too long.
pub(super) type Body = UnsyncBoxBody<Bytes, Error>;
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// A response that fails where its head, or more of its body, does not come in time.
pub(super) async fn bounded<E: Into<Error>>(
    response: impl Future<Output = Result<Response<Incoming>, E>>,
) -> Result<Response<Body>, Error> {
    let response = timeout(HEAD_TIMEOUT, response).await?;
    Ok(response.map_err(Into::into)?.map(while_it_comes))
}

fn while_it_comes(body: Incoming) -> Body {
    let next = async |mut body: Incoming| -> Result<Option<(Frame<Bytes>, Incoming)>, Error> {
        match timeout(IDLE_TIMEOUT, body.frame()).await? {
            Some(frame) => Ok(Some((frame?, body))),
            None => Ok(None),
        }
    };
    StreamBody::new(stream::try_unfold(body, next)).boxed_unsync()
}
