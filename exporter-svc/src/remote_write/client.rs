//! Posts requests to one destination.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh::http_client::{HttpClient, HttpClientError};
use tokio::time::Instant;

use super::{piece::Piece, verdict::Answer};
use crate::sigv4::{SignError, Signer};

/// Posts requests to one destination.
#[derive(Debug)]
pub struct Client {
    name: String,
    uri: http::Uri,
    headers: HeaderMap,
    http: HttpClient,
    signer: Option<Arc<Signer>>,
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

/// An answer and its headers.
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

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
    ) -> Self {
        Self {
            name,
            uri,
            headers,
            http,
            signer,
        }
    }

    /// The destination's name in logs and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts one request of these pieces and reads the answer. A refused
    /// signature is made once more with new credentials; nothing else is posted
    /// twice.
    ///
    /// # Errors
    /// Where there is no answer before the deadline.
    pub async fn post(
        &self,
        pieces: &[&Piece],
        deadline: Instant,
    ) -> Result<(StatusCode, Answer), PostError> {
        let body = encode_v1(pieces)?;
        let posted = tokio::time::timeout_at(deadline, self.post_signed(body)).await;
        let response = posted.unwrap_or(Err(PostError::DeadlineExceeded))?;
        let answer = Answer::read(
            response.status,
            &response.headers,
            &response.body,
            SystemTime::now(),
        );
        Ok((response.status, answer))
    }

    async fn post_signed(&self, body: Bytes) -> Result<Response, PostError> {
        let response = self.send(body.clone()).await?;
        let Some(signer) = &self.signer else {
            return Ok(response);
        };
        if response.status != StatusCode::FORBIDDEN {
            return Ok(response);
        }
        let date = response.headers.get(header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        signer.refused(date).await;
        self.send(body).await
    }

    async fn send(&self, body: Bytes) -> Result<Response, PostError> {
        let mut request = self.request(body);
        if let Some(signer) = &self.signer {
            signer.sign(&mut request)?;
        }
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

    fn request(&self, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        let ours = [
            (header::CONTENT_ENCODING, "snappy"),
            (header::CONTENT_TYPE, "application/x-protobuf"),
            (header::USER_AGENT, USER_AGENT),
            (VERSION, "0.1.0"),
        ];
        for (name, value) in ours {
            headers.insert(name, HeaderValue::from_static(value));
        }
        request
    }
}

// === impl PostError ===

impl PostError {
    /// Whether nothing of the request is in flight any more.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Unsent(_))
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

impl From<SignError> for PostError {
    fn from(error: SignError) -> Self {
        Self::Unsent(error.into())
    }
}

/// Joins pieces into a snappy-compressed `WriteRequest`.
fn encode_v1(pieces: &[&Piece]) -> Result<Bytes, PostError> {
    let joined: Vec<u8>;
    let plain = match pieces {
        [one] => &one.bytes,
        many => {
            let all: Vec<_> = many.iter().map(|piece| piece.bytes.as_slice()).collect();
            joined = all.concat();
            &joined
        }
    };
    let compressed = snap::raw::Encoder::new().compress_vec(plain);
    compressed
        .map(Bytes::from)
        .map_err(|error| PostError::Unsent(error.into()))
}
