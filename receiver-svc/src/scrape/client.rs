//! Asking a target for its metrics.

use std::{fmt, io::Write as _, path::Path, time::Duration};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::{FutureExt, future::BoxFuture};
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mesh::{
    budget::{Budget, Share},
    http_client::HttpClient,
};
use tokio::time::{Instant, timeout_at};

use super::failure::ScrapeError;

mod body;
mod sockets;

use body::Body;
pub(crate) use sockets::Sockets;

/// Asks targets.
pub(crate) trait Ask: fmt::Debug + Send + Sync {
    /// Gets the metrics of a target. `expected` is how many bytes it took before.
    ///
    /// # Errors
    /// Where there is no complete answer in time, or not the one hoped for.
    fn get<'a>(
        &'a self,
        at: Place<'a>,
        timeout: Duration,
        expected: usize,
        budget: &'a Budget,
    ) -> BoxFuture<'a, Result<Fetched, ScrapeError>>;
}

/// Where a target is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// What is asked.
    pub(crate) url: &'a str,
    /// The Unix socket that it is asked over, if not TCP.
    pub(crate) unix_socket: Option<&'a Path>,
}

/// Asks the targets of a job by HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// Connections and credentials.
    pub(crate) client: HttpClient,
    /// The same, for targets behind Unix sockets.
    pub(crate) sockets: Sockets,
    /// The `Accept` header.
    pub(crate) accept: String,
    /// Whether gzip is asked for.
    pub(crate) compression: bool,
    /// Bytes that a decompressed body may not reach.
    pub(crate) limit: BodyLimit,
}

/// Bytes that a decompressed body may not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimit {
    /// How many.
    pub(crate) bytes: u64,
    /// Who says so.
    pub(crate) what: &'static str,
}

/// What a target answered.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The `Content-Type` header.
    pub(crate) content_type: Option<String>,
    /// The body, decompressed.
    pub(crate) body: Vec<u8>,
    /// The memory it takes.
    share: Share,
}

const TIMEOUT_SECONDS: &str = "x-prometheus-scrape-timeout-seconds";
const USER_AGENT_VALUE: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

// === impl Requests ===

impl Ask for Requests {
    fn get<'a>(
        &'a self,
        at: Place<'a>,
        timeout: Duration,
        expected: usize,
        budget: &'a Budget,
    ) -> BoxFuture<'a, Result<Fetched, ScrapeError>> {
        let asked = async move {
            let request = self.request(at.url, timeout)?;
            let share = budget.take(expected).await;
            let client = match at.unix_socket {
                Some(path) => self.sockets.client(&self.client, path)?,
                None => self.client.clone(),
            };
            let response = client.request(request).await?;
            self.read(response, expected, share).await
        };
        async move {
            let fetched = timeout_at(Instant::now() + timeout, asked).await;
            fetched.map_err(|_| ScrapeError::Timeout(timeout))?
        }
        .boxed()
    }
}

impl Requests {
    fn request(&self, url: &str, timeout: Duration) -> Result<Request<Bytes>, ScrapeError> {
        let uri = Uri::try_from(url).map_err(|source| ScrapeError::Url {
            url: url.to_owned(),
            source,
        })?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        // Only text that was made here, which is legal in headers.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(ACCEPT, accept);
        }
        if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
            headers.insert(TIMEOUT_SECONDS, seconds);
        }
        let encoding = if self.compression { "gzip" } else { "identity" };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        Ok(request)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        expected: usize,
        share: Share,
    ) -> Result<Fetched, ScrapeError> {
        let (head, mut incoming) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(ScrapeError::Status(head.status));
        }
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let body = Body::new(self.limit, expected, share);
        let mut sink = match header(&CONTENT_ENCODING) {
            Some("gzip") => Sink::Gzip(Box::new(MultiGzDecoder::new(body))),
            _ => Sink::Plain(body),
        };
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(ScrapeError::Body)?;
            if let Ok(data) = frame.into_data() {
                sink.write(&data)?;
            }
        }
        let (body, share) = sink.finish()?;
        Ok(Fetched {
            content_type: header(&CONTENT_TYPE).map(str::to_owned),
            body,
            share,
        })
    }
}

/// Takes a body as it comes.
enum Sink {
    Plain(Body),
    Gzip(Box<MultiGzDecoder<Body>>),
}

// === impl Sink ===

impl Sink {
    fn write(&mut self, data: &[u8]) -> Result<(), ScrapeError> {
        match self {
            Self::Plain(body) => body.push(data),
            Self::Gzip(decoder) => {
                let written = decoder.write_all(data);
                written.map_err(|error| decoder.get_mut().failure(error))
            }
        }
    }

    fn finish(self) -> Result<(Vec<u8>, Share), ScrapeError> {
        match self {
            Self::Plain(body) => Ok(body.into_parts()),
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(decoder.get_mut().failure(error));
                }
                let body = decoder.finish().map_err(ScrapeError::Compression)?;
                Ok(body.into_parts())
            }
        }
    }
}

// === impl Fetched ===

impl Fetched {
    /// A body that was read otherwise.
    #[cfg(test)]
    pub(crate) fn new(content_type: &str, body: &str, share: Share) -> Self {
        Self {
            content_type: Some(content_type.to_owned()),
            body: body.into(),
            share,
        }
    }

    /// Takes the memory for what is made of the body, where it is to be had.
    ///
    /// # Errors
    /// Where it is not.
    pub(crate) fn reserve(&mut self, factor: usize) -> Result<(), ScrapeError> {
        let bytes = self.body.len();
        match self.share.grow_to(bytes.saturating_mul(factor)) {
            true => Ok(()),
            false => Err(ScrapeError::Budget { bytes }),
        }
    }
}

#[cfg(test)]
mod tests;
