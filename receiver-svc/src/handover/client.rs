//! gRPC client of the handover protocol: one HTTP/2 connection for each peer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mesh_net::{bearer::BearerTokens, connector::Connector};
use mesh_wire::otlp::frame::{self, MalformedFrame};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::debug;

use super::{
    protocol::{HandoverRequest, HandoverResponse},
    wire::{InvalidMessage, MAX_BACKLOGS, PATH},
};

/// Calls peers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    connector: Connector,
    tokens: Option<BearerTokens>,
    connections: Arc<Mutex<BTreeMap<String, SendRequest<Full<Bytes>>>>>,
}

/// A peer did not answer, or answered with an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("HTTP status {0}; is this a receiver's --shard.listen-address?")]
    HttpStatus(http::StatusCode),
    #[error("gRPC status {:?}: {}", .0.code(), .0.message())]
    Status(Box<Status>),
    #[error("response body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Frame(#[from] MalformedFrame),
    #[error("response: {0}")]
    Invalid(#[from] InvalidMessage),
    #[error("the token is not a header value")]
    Token,
    #[error("timeout")]
    Timeout,
    #[error("discovery does not list the peer")]
    Unlisted,
}

/// Timeout of the HTTP/2 handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum size of the peers and destinations in a response.
const MAX_PEERS_BYTES: usize = 1 << 20;
/// Maximum size of what a response says about one target, its backlogs included.
const MAX_TARGET_BYTES: usize = 64 + 16 * MAX_BACKLOGS;
const ORIGIN: &str = "http://receiver";

// === impl Client ===

impl Client {
    /// Creates a client that authenticates by the first of `tokens`.
    pub(super) fn new(connector: Connector, tokens: Option<BearerTokens>) -> Self {
        Self {
            connector,
            tokens,
            connections: Arc::default(),
        }
    }

    /// Sends a request to the peer at `name`.
    ///
    /// # Errors
    /// Returns an error unless the peer answers with a response that a receiver can send.
    pub(super) async fn call(
        &self,
        name: &str,
        request: &HandoverRequest,
    ) -> Result<HandoverResponse, CallError> {
        let mut connection = self.connection(name).await?;
        let response = connection.send_request(self.request(request)?).await;
        // Another request must not meet the same broken connection.
        let response = response.inspect_err(|_| self.close(name))?;
        if response.status() != http::StatusCode::OK {
            return Err(CallError::HttpStatus(response.status()));
        }
        let (head, body) = response.into_parts();
        let targets = [&request.claimed, &request.watched, &request.held_back];
        let targets: usize = targets.map(Vec::len).iter().sum();
        let limit = MAX_PEERS_BYTES.saturating_add(targets.saturating_mul(MAX_TARGET_BYTES));
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(CallError::Body)?;
        let status = Status::from_header_map(&head.headers)
            .or_else(|| Status::from_header_map(body.trailers()?));
        let status = status.unwrap_or_else(|| Status::unknown("the response has no status"));
        if status.code() != Code::Ok {
            return Err(CallError::Status(Box::new(status)));
        }
        let (_, message) = frame::decode(body.to_bytes())?;
        Ok(HandoverResponse::decode(message, request)?)
    }

    /// Closes the connection to a peer that does not answer. The next call opens another one.
    pub(super) fn close(&self, name: &str) {
        self.connections.lock().remove(name);
    }

    /// Closes the connections to all other peers.
    pub(super) fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.connections.lock().retain(|name, _| is_known(name));
    }

    /// Returns the connection to a peer, and opens it if necessary.
    async fn connection(&self, name: &str) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let known = self.connections.lock().get(name).cloned();
        if let Some(known) = known.filter(|it| !it.is_closed()) {
            return Ok(known);
        }
        let io = TokioIo::new(self.connector.connect(name).await?);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let opened = timeout(HANDSHAKE_TIMEOUT, builder.handshake(io)).await;
        let (connection, driver) = opened.map_err(|_| CallError::Timeout)??;
        let peer = name.to_owned();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                debug!(peer, %error, "Connection to a receiver failed");
            }
        });
        let mut connections = self.connections.lock();
        connections.insert(name.to_owned(), connection.clone());
        Ok(connection)
    }

    fn request(&self, request: &HandoverRequest) -> Result<Request<Full<Bytes>>, CallError> {
        let message = frame::encode(false, &request.encode());
        let mut call = Request::new(Full::new(message));
        *call.method_mut() = Method::POST;
        // The server ignores the authority.
        let uri = format!("{ORIGIN}{PATH}").parse();
        *call.uri_mut() = uri.unwrap_or_else(|_| Uri::from_static(ORIGIN));
        let headers = call.headers_mut();
        let grpc = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, grpc);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Some(token) = self.tokens.as_ref().and_then(BearerTokens::first) {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| CallError::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(call)
    }
}
