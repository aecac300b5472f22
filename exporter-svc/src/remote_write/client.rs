//! HTTP client of one destination.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh_model::config::remote_write::ProtobufMessage;
use mesh_net::http_client::{HttpClient, HttpClientError, Replayable};
use mesh_wire::protobuf::WireError;
use prost::Message;
use proto::v1;
use tokio::time::Instant;
use tracing::{Level, debug, warn};

use super::{
    compress::compress,
    encode,
    part::{Family, RequestPart},
    response::WriteResponse,
};
use crate::sigv4::{SignError, Signer};

/// HTTP client that posts requests to one destination.
#[derive(Debug)]
pub struct Client {
    name: String,
    uri: http::Uri,
    http: HttpClient,
    signer: Option<Arc<Signer>>,
    message: ProtobufMessage,
    /// True after the backend rejected remote write 2.0.
    fell_back: AtomicBool,
    /// Logs the content of failed requests if true.
    log_failed_requests: bool,
}

/// Error of a post that got no response.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The deadline passed before a response arrived.
    #[error("no response before the deadline")]
    DeadlineExceeded,
    /// The connection to the backend failed; nothing was sent.
    #[error("connecting to the backend: {0}")]
    Connect(#[source] HttpClientError),
    /// The connection broke after the request was sent; the backend may have received
    /// it.
    #[error("posting to the backend: {0}")]
    Broken(#[source] HttpClientError),
    /// The request could not be built and was not sent.
    #[error("{0}")]
    Unsent(#[source] Error),
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Version of remote write, as HTTP headers.
#[derive(Clone, Copy, Debug)]
struct Version {
    content_type: &'static str,
    number: &'static str,
}

/// HTTP response whose body has been read.
struct RawResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

const V1: Version = Version {
    content_type: "application/x-protobuf",
    number: "0.1.0",
};
const V2: Version = Version {
    content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    number: "2.0.0",
};
/// Response headers with the number of samples and native histograms that a 2.0 backend
/// wrote.
const WRITTEN: [&str; 2] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
];
/// Maximum number of body bytes that are read from a response.
const MAX_BODY: usize = 64 << 10;
/// Value of the `User-Agent` header.
const USER_AGENT: &str = concat!("promesh-exporter/", env!("CARGO_PKG_VERSION"));
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

// === impl Client ===

impl Client {
    /// Creates a client that posts to `uri` with a signature.
    pub fn new(
        name: String,
        uri: http::Uri,
        http: HttpClient,
        signer: Option<Arc<Signer>>,
        message: ProtobufMessage,
    ) -> Self {
        Self {
            name,
            uri,
            http,
            signer,
            message,
            fell_back: AtomicBool::new(false),
            log_failed_requests: false,
        }
    }

    /// Logs the content of failed requests at level debug if `log` is true.
    pub fn with_failed_request_logging(mut self, log: bool) -> Self {
        self.log_failed_requests = log;
        self
    }

    /// Name of the destination in logs and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts one request with these parts and reads the response.
    ///
    /// Posts a request twice in three cases only. After a rejected signature, the client
    /// signs again with new credentials. If the backend does not support remote write
    /// 2.0, the client falls back to 1.0 from then on. If the backend closes a reused
    /// connection without a response, the HTTP client sends the same bytes again.
    ///
    /// # Errors
    /// Returns an error if there is no response before the deadline.
    pub async fn post(
        &self,
        parts: &[&RequestPart],
        deadline: Instant,
    ) -> Result<(StatusCode, WriteResponse), PostError> {
        let posting = async {
            if self.uses_v2() {
                let response = self.post_signed(V2, compress(&encode::v2(parts)?)?).await?;
                if response.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
                    return Ok(response.interpret(Some(parts)));
                }
                warn!(
                    body = response.body,
                    "Backend does not support remote write 2.0; falling back to 1.0"
                );
                self.fell_back.store(true, Ordering::Relaxed);
            }
            let response = self.post_signed(V1, compress(&encode::v1(parts))?).await?;
            Ok(response.interpret(None))
        };
        let result = tokio::time::timeout_at(deadline, posting).await;
        let result = result.unwrap_or(Err(PostError::DeadlineExceeded));
        if tracing::enabled!(Level::DEBUG)
            && let Some((error, request)) = self.failed_request(parts, &result)
        {
            let destination = &self.name;
            debug!(destination, error, ?request, "Remote-write request failed");
        }
        result
    }

    /// Returns the error and the content of a request that failed, if they are to be logged.
    fn failed_request(
        &self,
        parts: &[&RequestPart],
        result: &Result<(StatusCode, WriteResponse), PostError>,
    ) -> Option<(String, v1::WriteRequest)> {
        let error = match result {
            Ok((_, WriteResponse::Stored | WriteResponse::Deduplicated)) => return None,
            Ok((status, response)) => format!("{status}: {response:?}"),
            Err(error) => error.to_string(),
        };
        if !self.log_failed_requests {
            return None;
        }
        let request = v1::WriteRequest::decode(&*encode::v1(parts)).ok()?;
        Some((error, request))
    }

    /// Posts metadata of families. Remote write 2.0 does not need it: there, metadata
    /// is part of each series.
    ///
    /// # Errors
    /// Returns an error if there is no response before the deadline.
    pub async fn post_metadata(
        &self,
        families: &[Arc<Family>],
        deadline: Instant,
    ) -> Result<(StatusCode, WriteResponse), PostError> {
        let metadata = compress(&encode::metadata(families))?;
        let posting = self.post_signed(V1, metadata);
        let result = tokio::time::timeout_at(deadline, posting).await;
        let response = result.unwrap_or(Err(PostError::DeadlineExceeded))?;
        Ok(response.interpret(None))
    }

    /// Posts a request without series to test whether the backend responds. Cortex and
    /// Mimir accept it and change nothing, not even the elected replica.
    ///
    /// # Errors
    /// Returns an error if there is no response before the deadline.
    pub async fn probe(&self, deadline: Instant) -> Result<StatusCode, PostError> {
        let posting = self.post_signed(V1, compress(&[])?);
        let result = tokio::time::timeout_at(deadline, posting).await;
        let response = result.unwrap_or(Err(PostError::DeadlineExceeded))?;
        Ok(response.status)
    }

    /// Returns true if the client uses remote write 2.0.
    pub fn uses_v2(&self) -> bool {
        self.message == ProtobufMessage::V2 && !self.fell_back.load(Ordering::Relaxed)
    }

    async fn post_signed(&self, version: Version, body: Bytes) -> Result<RawResponse, PostError> {
        let mut request = self.request(version, body.clone());
        let Some(signer) = &self.signer else {
            return self.send(request).await;
        };
        let key = signer.sign(&mut request)?;
        let response = self.send(request).await?;
        if response.status != StatusCode::FORBIDDEN {
            return Ok(response);
        }
        let date = response.headers.get(header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        if !signer.handle_rejection(&key, date).await {
            return Ok(response);
        }
        let mut request = self.request(version, body);
        signer.sign(&mut request)?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Bytes>) -> Result<RawResponse, PostError> {
        let response = self.http.request(request).await?;
        let (head, body) = response.into_parts();
        // The status alone decides; an incomplete body does not matter.
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Ok(RawResponse {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    fn request(&self, version: Version, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        // The backend ignores samples that it already has (law 2), so it may receive the same
        // bytes twice. The deadline ends all attempts (law 3).
        request.extensions_mut().insert(Replayable);
        let headers = request.headers_mut();
        let ours = [
            (header::CONTENT_ENCODING, "snappy"),
            (header::CONTENT_TYPE, version.content_type),
            (header::USER_AGENT, USER_AGENT),
            (VERSION, version.number),
        ];
        for (name, value) in ours {
            headers.insert(name, HeaderValue::from_static(value));
        }
        request
    }
}

// === impl RawResponse ===

impl RawResponse {
    /// Interprets the response. `sent` has the parts of a 2.0 request, whose response
    /// counts the written samples.
    fn interpret(self, sent: Option<&[&RequestPart]>) -> (StatusCode, WriteResponse) {
        let now = SystemTime::now();
        let response = WriteResponse::parse(self.status, &self.headers, &self.body, now);
        let Some(parts) = sent else {
            return (self.status, response);
        };
        let sent = parts.iter().map(|part| part.series_meta.len() as u64).sum();
        (
            self.status,
            response.with_written_count(sent, self.written()),
        )
    }

    fn written(&self) -> Option<u64> {
        let count = |name: &&str| self.headers.get(*name)?.to_str().ok()?.parse::<u64>().ok();
        let counts = WRITTEN.iter().map(count);
        counts.flatten().reduce(u64::saturating_add)
    }
}

// === impl PostError ===

impl PostError {
    /// Returns true if nothing of the request is in flight any more: it was not sent,
    /// or it was cancelled at its deadline.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Broken(_))
    }

    /// Kind of the error, as a metric label value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "deadline",
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Unsent(_) => "unsent",
        }
    }
}

impl From<HttpClientError> for PostError {
    fn from(error: HttpClientError) -> Self {
        match &error {
            HttpClientError::Connection(cause) if cause.is_connect() => Self::Connect(error),
            HttpClientError::Connection(_) | HttpClientError::Redirect(_) => Self::Broken(error),
            _ => Self::Unsent(error.into()),
        }
    }
}

impl From<WireError> for PostError {
    fn from(error: WireError) -> Self {
        Self::Unsent(error.into())
    }
}

impl From<snap::Error> for PostError {
    fn from(error: snap::Error) -> Self {
        Self::Unsent(error.into())
    }
}

impl From<SignError> for PostError {
    fn from(error: SignError) -> Self {
        Self::Unsent(error.into())
    }
}

#[cfg(test)]
mod tests;
