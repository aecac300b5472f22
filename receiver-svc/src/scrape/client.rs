//! HTTP client that requests the metrics of a target.

use std::{fmt, io::Write as _, path::Path, time::Duration};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::{FutureExt, future::BoxFuture};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::BodyExt;
use mesh_base::budget::{Budget, Reservation};
use mesh_net::http_client::{HttpClient, ResponseBody};
use mesh_wire::compression::WINDOW_LOG;
use tokio::time::{Instant, timeout_at};
use zstd::zstd_safe::DParameter;

use super::{failure::ScrapeError, target::uri};

mod body;
mod sockets;

use body::Body;
pub(crate) use sockets::UnixSocketClients;

/// Requests the metrics of a target.
pub(crate) trait Fetch: fmt::Debug + Send + Sync {
    /// Requests the metrics of a target. `expected` is the expected size of the body in
    /// bytes.
    ///
    /// # Errors
    /// Returns an error unless a complete response with status 200 arrives within
    /// `timeout`, and its body stays within all limits.
    fn fetch<'a>(
        &'a self,
        address: TargetAddress<'a>,
        timeout: Duration,
        expected: usize,
        budget: &'a Budget,
    ) -> BoxFuture<'a, Result<FetchedBody, ScrapeError>>;
}

/// Address of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetAddress<'a> {
    /// URL of the metrics.
    pub(crate) url: &'a str,
    /// Unix socket to connect to; `None` for TCP.
    pub(crate) unix_socket: Option<&'a Path>,
}

/// Requests the metrics of a job's targets over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct HttpFetcher {
    /// HTTP client, with the connections and credentials of the job.
    pub(crate) client: HttpClient,
    /// Clients for targets behind Unix sockets.
    pub(crate) sockets: UnixSocketClients,
    /// Value of the `Accept` header.
    pub(crate) accept: String,
    /// Requests compressed bodies if true.
    pub(crate) compression: bool,
    /// Prefers zstd to gzip, and accepts it, if true.
    pub(crate) zstd: bool,
    /// Limit of the decompressed body.
    pub(crate) limit: BodyLimit,
}

/// Limit of the size of a decompressed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimit {
    /// Limit in bytes; the body has to be smaller.
    pub(crate) bytes: u64,
    /// Configuration key or flag that sets the limit.
    pub(crate) setting: &'static str,
}

/// Metrics of a target, as fetched.
#[derive(Debug)]
pub(crate) struct FetchedBody {
    /// Value of the `Content-Type` header.
    pub(crate) content_type: Option<String>,
    /// Decompressed body.
    pub(crate) body: Vec<u8>,
    /// Part of the memory budget that the body uses.
    pub(crate) reservation: Reservation,
}

const TIMEOUT_SECONDS: &str = "x-prometheus-scrape-timeout-seconds";
const USER_AGENT_VALUE: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

// === impl HttpFetcher ===

impl Fetch for HttpFetcher {
    fn fetch<'a>(
        &'a self,
        address: TargetAddress<'a>,
        timeout: Duration,
        expected: usize,
        budget: &'a Budget,
    ) -> BoxFuture<'a, Result<FetchedBody, ScrapeError>> {
        let fetch = async move {
            let request = self.request(address.url, timeout)?;
            let reservation = budget.reserve(expected).await;
            let client = match address.unix_socket {
                Some(path) => self.sockets.client(&self.client, path)?,
                None => self.client.clone(),
            };
            let response = client.request(request).await?;
            self.read(response, expected, reservation).await
        };
        async move {
            let fetched = timeout_at(Instant::now() + timeout, fetch).await;
            fetched.map_err(|_| ScrapeError::Timeout(timeout))?
        }
        .boxed()
    }
}

impl HttpFetcher {
    fn request(&self, url: &str, timeout: Duration) -> Result<Request<Bytes>, ScrapeError> {
        let uri = uri::parse(url).map_err(|source| ScrapeError::Url {
            url: url.to_owned(),
            source,
        })?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        // These values contain only characters that are valid in headers.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(ACCEPT, accept);
        }
        if let Ok(seconds) = HeaderValue::from_str(&timeout.as_secs_f64().to_string()) {
            headers.insert(TIMEOUT_SECONDS, seconds);
        }
        let encoding = match (self.compression, self.zstd) {
            (false, _) => "identity",
            (true, false) => "gzip",
            (true, true) => "zstd,gzip;q=0.5",
        };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        Ok(request)
    }

    async fn read(
        &self,
        response: Response<ResponseBody>,
        expected: usize,
        reservation: Reservation,
    ) -> Result<FetchedBody, ScrapeError> {
        let (head, mut incoming) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(ScrapeError::Status(head.status));
        }
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let body = Body::new(self.limit, expected, reservation);
        let mut sink = match header(&CONTENT_ENCODING) {
            Some("gzip") => Sink::Gzip(Box::new(MultiGzDecoder::new(body))),
            Some("zstd") if self.zstd => Sink::zstd(body)?,
            Some("zstd") => return Err(ScrapeError::UnrequestedZstd),
            _ => Sink::Plain(body),
        };
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(ScrapeError::Body)?;
            if let Ok(data) = frame.into_data() {
                sink.write(&data)?;
            }
        }
        let (body, reservation) = sink.finish()?;
        Ok(FetchedBody {
            content_type: header(&CONTENT_TYPE).map(str::to_owned),
            body,
            reservation,
        })
    }
}

/// Destination of body chunks, with or without decompression.
enum Sink {
    Plain(Body),
    Gzip(Box<MultiGzDecoder<Body>>),
    Zstd(Box<ZstdDecoder>),
}

/// Decoder that accepts several frames, and fails at the end if the last one is incomplete.
type ZstdDecoder = zstd::stream::zio::Writer<Body, zstd::stream::raw::Decoder<'static>>;

// === impl Sink ===

impl Sink {
    /// Creates a zstd decoder with a bounded window.
    fn zstd(body: Body) -> Result<Self, ScrapeError> {
        let decoder = zstd::stream::raw::Decoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
            Ok(decoder)
        });
        let decoder = decoder.map_err(ScrapeError::Compression)?;
        Ok(Self::Zstd(Box::new(ZstdDecoder::new(body, decoder))))
    }

    fn write(&mut self, data: &[u8]) -> Result<(), ScrapeError> {
        match self {
            Self::Plain(body) => body.push(data),
            Self::Gzip(decoder) => {
                let written = decoder.write_all(data);
                written.map_err(|error| decoder.get_mut().failure(error))
            }
            Self::Zstd(decoder) => {
                let written = decoder.write_all(data);
                written.map_err(|error| decoder.writer_mut().failure(error))
            }
        }
    }

    fn finish(self) -> Result<(Vec<u8>, Reservation), ScrapeError> {
        match self {
            Self::Plain(body) => Ok(body.into_parts()),
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(decoder.get_mut().failure(error));
                }
                let body = decoder.finish().map_err(ScrapeError::Compression)?;
                Ok(body.into_parts())
            }
            Self::Zstd(mut decoder) => {
                if let Err(error) = decoder.finish() {
                    return Err(decoder.writer_mut().failure(error));
                }
                let (body, _) = decoder.into_inner();
                Ok(body.into_parts())
            }
        }
    }
}

// === impl FetchedBody ===

impl FetchedBody {
    /// Creates a body without a request.
    #[cfg(test)]
    pub(crate) fn new(content_type: &str, body: &str, reservation: Reservation) -> Self {
        Self {
            content_type: Some(content_type.to_owned()),
            body: body.into(),
            reservation,
        }
    }

    /// Reserves memory for processing: `factor` times the size of the body, which includes
    /// the body itself.
    ///
    /// # Errors
    /// Returns an error if the memory budget is exhausted.
    pub(crate) fn reserve(&mut self, factor: usize) -> Result<(), ScrapeError> {
        let bytes = self.body.len();
        if self.reservation.grow_to(bytes.saturating_mul(factor)) {
            Ok(())
        } else {
            Err(ScrapeError::Budget { bytes })
        }
    }
}

#[cfg(test)]
mod tests;
