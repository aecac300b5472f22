//! HTTP client of one destination.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use mesh_model::config::remote_write::ProtobufMessage;
use mesh_net::http_client::{HttpClient, HttpClientError, KeepsMethod, Replayable};
use mesh_wire::protobuf::WireError;
use prost::Message;
use proto::v1;
use tokio::time::Instant;
use tracing::{Level, debug};

use super::{
    compress::compress,
    encode,
    knowledge::Knowledge,
    part::{Family, RequestPart},
    table::{Action, Answer},
};
use crate::sigv4::{SignError, Signer};

/// HTTP client that posts requests to one destination.
#[derive(Debug)]
pub struct Client {
    name: String,
    uri: http::Uri,
    http: HttpClient,
    signer: Option<Arc<Signer>>,
    knowledge: Knowledge,
    /// Logs the content of failed requests if true.
    log_failed_requests: bool,
}

/// Status code of a post, and the action on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Status code.
    pub status: StatusCode,
    /// Action on the answer.
    pub action: Action,
    /// Number of posts: two after a fallback to remote write 1.0.
    pub posts: usize,
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
            knowledge: Knowledge::new(message),
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

    /// Facts that the answers have shown so far.
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Posts one request with these parts and reads the response.
    ///
    /// Posts a request twice in three cases only. After a rejected signature, the client
    /// signs again with new credentials. If the backend does not support remote write
    /// 2.0, the client falls back to 1.0. If the backend closes a reused connection without
    /// a response, the HTTP client sends the same bytes again.
    ///
    /// # Errors
    /// Returns an error if there is no response before the deadline.
    pub async fn post(
        &self,
        parts: &[&RequestPart],
        deadline: Instant,
    ) -> Result<Answered, PostError> {
        let result = tokio::time::timeout_at(deadline, self.post_in_either(parts)).await;
        let result = result.unwrap_or(Err(PostError::DeadlineExceeded));
        if tracing::enabled!(Level::DEBUG)
            && let Some((error, request)) = self.failed_request(parts, &result)
        {
            let destination = &self.name;
            debug!(destination, error, ?request, "Remote-write request failed");
        }
        result
    }

    /// Posts in the protocol that the backend speaks, as far as it is known.
    async fn post_in_either(&self, parts: &[&RequestPart]) -> Result<Answered, PostError> {
        let protocol = self.knowledge.next_protocol(Instant::now());
        let first = self.post_in(protocol, parts).await?;
        let Action::FallBack { message } = first.action else {
            return Ok(first);
        };
        // A backend that refuses every request refuses an empty one too.
        if first.status == StatusCode::BAD_REQUEST
            && let Some(refused) = self.refuses_empty(ProtobufMessage::V1).await?
        {
            return Ok(Answered {
                posts: 2,
                ..refused
            });
        }
        let second = self.post_in(ProtobufMessage::V1, parts).await?;
        if second.action.is_stored() {
            self.knowledge.record_fallback(&message, Instant::now());
        }
        Ok(Answered {
            posts: first.posts + second.posts,
            ..second
        })
    }

    async fn post_in(
        &self,
        protocol: ProtobufMessage,
        parts: &[&RequestPart],
    ) -> Result<Answered, PostError> {
        let body = match protocol {
            ProtobufMessage::V1 => compress(&encode::v1(parts))?,
            ProtobufMessage::V2 => compress(&encode::v2(parts)?)?,
        };
        let response = self.post_signed(Version::of(protocol), body).await?;
        let sent = parts.iter().map(|part| part.series_meta.len() as u64).sum();
        Ok(self.interpret(protocol, &response, sent))
    }

    /// Asks whether the backend refuses requests without samples too. Returns the answer if
    /// it does.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    async fn refuses_empty(
        &self,
        protocol: ProtobufMessage,
    ) -> Result<Option<Answered>, PostError> {
        let response = self.post_signed(Version::of(protocol), compress(&[])?);
        let response = response.await?;
        let status = response.status;
        let refused = status.is_client_error() || status.is_redirection();
        Ok(refused.then(|| Answered {
            status,
            action: Action::Hold {
                status,
                message: format!(
                    "{status}, to a request without samples too: {}",
                    response.body
                ),
                refuses_empty: true,
            },
            posts: 1,
        }))
    }

    /// Asks a backend that has not stored anything lately whether it refuses requests without
    /// samples too. Returns the answer if it does.
    ///
    /// # Errors
    /// Returns an error if there is no response before the deadline.
    pub async fn refuses_everything(
        &self,
        deadline: Instant,
    ) -> Result<Option<Answered>, PostError> {
        let asking = self.refuses_empty(self.knowledge.protocol());
        let result = tokio::time::timeout_at(deadline, asking).await;
        result.unwrap_or(Err(PostError::DeadlineExceeded))
    }

    fn interpret(&self, protocol: ProtobufMessage, response: &RawResponse, sent: u64) -> Answered {
        let answer = Answer {
            protocol,
            status: response.status,
            headers: &response.headers,
            body: &response.body,
            sent,
            confirmed_v2: self.knowledge.speaks_v2(),
            extent: self.knowledge.extent(),
            now: SystemTime::now(),
        };
        let action = answer.action();
        self.knowledge.record(&answer, &action, Instant::now());
        Answered {
            status: response.status,
            action,
            posts: 1,
        }
    }

    /// Returns the error and the content of a request that failed, if they are to be logged.
    fn failed_request(
        &self,
        parts: &[&RequestPart],
        result: &Result<Answered, PostError>,
    ) -> Option<(String, v1::WriteRequest)> {
        let error = match result {
            Ok(Answered {
                action: Action::Stored | Action::Deduplicated,
                ..
            }) => return None,
            Ok(Answered { status, action, .. }) => format!("{status}: {action:?}"),
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
    ) -> Result<StatusCode, PostError> {
        let metadata = compress(&encode::metadata(families))?;
        let posting = self.post_signed(V1, metadata);
        let result = tokio::time::timeout_at(deadline, posting).await;
        let response = result.unwrap_or(Err(PostError::DeadlineExceeded))?;
        Ok(response.status)
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
        let (head, mut body) = response.into_parts();
        // The status and the begin of the body decide; the rest does not matter.
        let mut begin = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            begin.extend_from_slice(&data[..data.len().min(MAX_BODY - begin.len())]);
            if begin.len() == MAX_BODY {
                break;
            }
        }
        Ok(RawResponse {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&begin).into_owned(),
        })
    }

    fn request(&self, version: Version, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        // The backend ignores samples that it already has (law 2), so it may receive the same
        // bytes twice. The deadline ends all attempts (law 3).
        request.extensions_mut().insert(Replayable);
        // A redirect that turns the POST into a GET delivers nothing.
        request.extensions_mut().insert(KeepsMethod);
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

// === impl Version ===

impl Version {
    fn of(protocol: ProtobufMessage) -> Self {
        match protocol {
            ProtobufMessage::V1 => V1,
            ProtobufMessage::V2 => V2,
        }
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
