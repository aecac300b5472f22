//! Posts requests to one destination.

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
use mesh::{
    config::remote_write::ProtobufMessage,
    http_client::{HttpClient, HttpClientError},
    wire::WireError,
};
use tokio::time::Instant;
use tracing::warn;

use super::{
    compress::compress,
    encode,
    piece::{Family, Piece},
    verdict::Answer,
};
use crate::sigv4::{SignError, Signer};

/// Posts requests to one destination.
#[derive(Debug)]
pub struct Client {
    name: String,
    uri: http::Uri,
    headers: HeaderMap,
    http: HttpClient,
    signer: Option<Arc<Signer>>,
    message: ProtobufMessage,
    /// Whether the backend said that it does not know remote write 2.0.
    fell_back: AtomicBool,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The deadline came first.
    #[error("no answer before the deadline")]
    DeadlineExceeded,
    /// The backend could not be reached; nothing was sent.
    #[error("connecting: {0}")]
    Connect(#[source] HttpClientError),
    /// The connection broke; the backend may have the request.
    #[error("posting: {0}")]
    Broken(#[source] HttpClientError),
    /// The request could not be made, and was not sent.
    #[error("{0}")]
    Unsent(#[source] Error),
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A version of remote write, as headers say it.
#[derive(Clone, Copy, Debug)]
struct Version {
    content_type: &'static str,
    number: &'static str,
}

/// An answer and its headers.
struct Response {
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
/// How many samples and native histograms a 2.0 backend wrote.
const WRITTEN: [&str; 2] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
];
/// How much of an answer's body is read.
const MAX_BODY: usize = 64 << 10;
/// Who we say we are.
const USER_AGENT: &str = concat!("promesh-exporter/", env!("CARGO_PKG_VERSION"));
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

// === impl Client ===

impl Client {
    /// A client that posts to `uri`, adding `headers` and a signature.
    pub fn new(
        name: String,
        uri: http::Uri,
        headers: HeaderMap,
        http: HttpClient,
        signer: Option<Arc<Signer>>,
        message: ProtobufMessage,
    ) -> Self {
        Self {
            name,
            uri,
            headers,
            http,
            signer,
            message,
            fell_back: AtomicBool::new(false),
        }
    }

    /// The destination's name in logs and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts one request of these pieces and reads the answer. A refused
    /// signature is made once more with new credentials, and a backend that does
    /// not know remote write 2.0 is written to in 1.0 from then on; nothing else is
    /// posted twice.
    ///
    /// # Errors
    /// Where there is no answer before the deadline.
    pub async fn post(
        &self,
        pieces: &[&Piece],
        deadline: Instant,
    ) -> Result<(StatusCode, Answer), PostError> {
        let posting = async {
            if self.speaks_v2() {
                let response = self
                    .post_signed(V2, compress(&encode::v2(pieces)?)?)
                    .await?;
                if response.status != StatusCode::UNSUPPORTED_MEDIA_TYPE {
                    return Ok(response.answer(Some(pieces)));
                }
                warn!(body = response.body, "Falling back to remote write 1.0");
                self.fell_back.store(true, Ordering::Relaxed);
            }
            let response = self.post_signed(V1, compress(&encode::v1(pieces))?).await?;
            Ok(response.answer(None))
        };
        let posted = tokio::time::timeout_at(deadline, posting).await;
        posted.unwrap_or(Err(PostError::DeadlineExceeded))
    }

    /// Posts what families say of themselves; remote write 2.0 says it beside their
    /// series.
    ///
    /// # Errors
    /// Where there is no answer before the deadline.
    pub async fn post_metadata(
        &self,
        families: &[Arc<Family>],
        deadline: Instant,
    ) -> Result<(StatusCode, Answer), PostError> {
        let metadata = compress(&encode::metadata(families))?;
        let posting = self.post_signed(V1, metadata);
        let posted = tokio::time::timeout_at(deadline, posting).await;
        let response = posted.unwrap_or(Err(PostError::DeadlineExceeded))?;
        Ok(response.answer(None))
    }

    /// Posts a request without any series, to see whether there is an answer. Cortex
    /// and Mimir take it as a success that changes nothing, the election of a replica
    /// included.
    ///
    /// # Errors
    /// Where there is no answer before the deadline.
    pub async fn probe(&self, deadline: Instant) -> Result<StatusCode, PostError> {
        let posting = self.post_signed(V1, compress(&[])?);
        let posted = tokio::time::timeout_at(deadline, posting).await;
        let response = posted.unwrap_or(Err(PostError::DeadlineExceeded))?;
        Ok(response.status)
    }

    /// Whether requests are of remote write 2.0.
    pub fn speaks_v2(&self) -> bool {
        self.message == ProtobufMessage::V2 && !self.fell_back.load(Ordering::Relaxed)
    }

    async fn post_signed(&self, version: Version, body: Bytes) -> Result<Response, PostError> {
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
        if !signer.refused(&key, date).await {
            return Ok(response);
        }
        let mut request = self.request(version, body);
        signer.sign(&mut request)?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response, PostError> {
        let response = self.http.request(request).await?;
        let (head, body) = response.into_parts();
        // The status has spoken; a body that breaks off changes nothing.
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    fn request(&self, version: Version, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = self.headers.clone();
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

// === impl Response ===

impl Response {
    /// What it means. A backend that speaks 2.0 says how many of the samples that
    /// it was `sent` it wrote.
    fn answer(self, sent: Option<&[&Piece]>) -> (StatusCode, Answer) {
        let now = SystemTime::now();
        let answer = Answer::read(self.status, &self.headers, &self.body, now);
        let Some(pieces) = sent else {
            return (self.status, answer);
        };
        let sent = pieces.iter().map(|piece| piece.marks.len() as u64).sum();
        (self.status, answer.counted(sent, self.written()))
    }

    fn written(&self) -> Option<u64> {
        let count = |name: &&str| self.headers.get(*name)?.to_str().ok()?.parse::<u64>().ok();
        let counts = WRITTEN.iter().map(count);
        counts.flatten().reduce(u64::saturating_add)
    }
}

// === impl PostError ===

impl PostError {
    /// Whether nothing of the request is in flight any more: it was never sent, or was
    /// taken back at its deadline.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Broken(_))
    }

    /// What kind of error it is, for a metric's label.
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
