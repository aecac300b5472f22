//! Follows redirects as Go's client does.

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION},
};
use url::Url;

use super::HttpClientError;

const MAX_HOPS: usize = 10;

/// Request extension that marks a redirect to another host. Such a request must not carry the
/// caller's credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftOrigin;

/// Returns the request that follows a redirect, or `None` if the response is not a redirect.
/// `hop` is the number of redirects followed so far.
pub(super) fn follow<B>(
    request: Request<Bytes>,
    response: &Response<B>,
    hop: usize,
) -> Result<Option<Request<Bytes>>, HttpClientError> {
    let keeps_method = match response.status() {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return Ok(None),
    };
    let Some(location) = response.headers().get(LOCATION) else {
        return Ok(None);
    };
    if hop >= MAX_HOPS {
        return Err(HttpClientError::Redirect(format!(
            "stopped after {MAX_HOPS} redirects"
        )));
    }
    let target = resolve(request.uri(), location.to_str().unwrap_or_default())?;
    let (mut parts, mut body) = request.into_parts();
    if !keeps_method && parts.method != Method::GET && parts.method != Method::HEAD {
        parts.method = Method::GET;
        body = Bytes::new();
        for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
            parts.headers.remove(name);
        }
    }
    if parts.uri.authority() != target.authority() {
        parts.headers.remove(AUTHORIZATION);
        parts.headers.remove(COOKIE);
        parts.extensions.insert(LeftOrigin);
    }
    parts.uri = target;
    Ok(Some(Request::from_parts(parts, body)))
}

fn resolve(from: &Uri, location: &str) -> Result<Uri, HttpClientError> {
    let bad = |why: String| HttpClientError::Redirect(format!("to {location:?}: {why}"));
    let base: Url = from
        .to_string()
        .parse()
        .map_err(|e: url::ParseError| bad(e.to_string()))?;
    let target = base
        .join(location)
        .map_err(|error| bad(error.to_string()))?;
    target
        .as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad(error.to_string()))
}
