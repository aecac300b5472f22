//! Limits of the admin port, and the server that applies them.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use mesh_base::shutdown::Shutdown;
use mesh_model::flags::{self, ByteSize};
use mesh_net::server::{
    Accept, DiscardLimits, Limits, Protocol, RequestBody, ServeMetrics, Server,
};
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::warn;

use crate::cross_site;

/// Flags for the limits of the admin port.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Admin port")]
pub struct WebArgs {
    /// Maximum number of open connections to the admin port. Further ones wait.
    #[arg(
        id = "web_max_connections",
        long = "web.max-connections",
        env = "PROMESH_WEB_MAX_CONNECTIONS",
        default_value_t = 512
    )]
    pub max_connections: usize,

    /// Maximum number of open connections to the admin port per client address; further ones
    /// are closed.
    #[arg(
        id = "web_max_connections_per_client",
        long = "web.max-connections-per-client",
        env = "PROMESH_WEB_MAX_CONNECTIONS_PER_CLIENT",
        default_value_t = 128
    )]
    pub max_connections_per_client: usize,

    /// Maximum number of requests to the admin port in flight, until their responses have been
    /// read. Further ones are answered with 503.
    #[arg(
        id = "web_max_requests",
        long = "web.max-requests",
        env = "PROMESH_WEB_MAX_REQUESTS",
        default_value_t = 64
    )]
    pub max_requests: usize,

    /// Maximum size of a request body on the admin port.
    #[arg(
        id = "web_max_body_bytes",
        long = "web.max-body-bytes",
        env = "PROMESH_WEB_MAX_BODY_BYTES",
        value_name = "SIZE",
        default_value = "64KiB"
    )]
    pub max_body_bytes: ByteSize,

    /// Timeout for the head of a request to the admin port, and for an idle connection.
    #[arg(
        id = "web_header_timeout",
        long = "web.header-timeout",
        env = "PROMESH_WEB_HEADER_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "75s"
    )]
    pub header_timeout: Duration,

    /// Timeout for the body of a request to the admin port.
    #[arg(
        id = "web_body_timeout",
        long = "web.body-timeout",
        env = "PROMESH_WEB_BODY_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "10s"
    )]
    pub body_timeout: Duration,

    /// Time in which a client of the admin port must read a response. After it the connection
    /// is closed.
    #[arg(
        id = "web_response_timeout",
        long = "web.response-timeout",
        env = "PROMESH_WEB_RESPONSE_TIMEOUT",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "60s"
    )]
    pub response_timeout: Duration,
}

/// Server of an admin port.
#[derive(Debug)]
pub struct WebServer<L> {
    server: Server<L>,
    requests: RequestLimits,
}

/// Limits on the body of each request.
#[derive(Clone, Copy, Debug)]
struct RequestLimits {
    max_body_bytes: usize,
    body_timeout: Duration,
}

/// Number of requests in flight on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Age at which a connection is closed, and time for its requests in flight.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Interval of HTTP/2 pings, and the timeout of each ping.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time that requests in flight have when the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

// === impl WebArgs ===

impl Default for WebArgs {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: WebArgs,
        }
        <Only as clap::Parser>::parse_from([""]).args
    }
}

impl WebArgs {
    /// Builds the server of an admin port.
    pub fn server<L>(&self, listener: L, metrics: &ServeMetrics) -> WebServer<L> {
        let limits = Limits {
            max_connections: self.max_connections,
            max_connections_per_client: self.max_connections_per_client,
            max_concurrent_streams: MAX_STREAMS,
            max_requests: self.max_requests,
            response_timeout: self.response_timeout,
            discard: DiscardLimits {
                max_bytes: 1 << 20,
                timeout: self.body_timeout,
            },
            max_connection_age: MAX_AGE,
            max_connection_age_grace: self.response_timeout,
            header_timeout: self.header_timeout,
            keepalive_interval: KEEPALIVE,
            keepalive_timeout: KEEPALIVE,
        };
        WebServer {
            server: Server {
                listener,
                protocol: Protocol::Any,
                tls: None,
                metrics: metrics.for_listener("web", &limits),
                limits,
            },
            requests: RequestLimits {
                max_body_bytes: self.max_body_bytes.in_memory(),
                body_timeout: self.body_timeout,
            },
        }
    }
}

// === impl WebServer ===

impl<L: Accept> WebServer<L> {
    /// Serves `router` until shutdown. Requests in flight then have 5 s to complete.
    pub(crate) async fn serve(self, router: Router, shutdown: Shutdown) {
        let limits = self.requests;
        let handler = move |request| limits.respond(router.clone(), request);
        let stopping = async {
            shutdown.signaled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            // A fixed order lets simulations repeat.
            biased;
            () = self.server.serve(handler, shutdown.clone()) => {}
            () = stopping => warn!("Admin port stopped with requests in flight"),
        }
    }
}

// === impl RequestLimits ===

impl RequestLimits {
    /// Reads the body of a request and passes it to the router.
    async fn respond(self, router: Router, request: Request<RequestBody>) -> Response {
        let (head, body) = request.into_parts();
        let body = match forbidden(&head.method, &head.headers) {
            None => self.read(body).await,
            Some(refusal) => Err(refusal),
        };
        match body {
            Ok(body) => match router.oneshot(Request::from_parts(head, body)).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err((status, why)) => (status, format!("Refused: {why}\n")).into_response(),
        }
    }

    async fn read(self, body: RequestBody) -> Result<Body, (StatusCode, String)> {
        let limit = self.max_body_bytes;
        let too_large = || {
            let why = format!("the body is larger than {limit} bytes");
            (StatusCode::PAYLOAD_TOO_LARGE, why)
        };
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let collected = timeout(self.body_timeout, Limited::new(body, limit).collect()).await;
        let collected = collected.map_err(|_| {
            let why = format!("the body did not arrive within {:?}", self.body_timeout);
            (StatusCode::REQUEST_TIMEOUT, why)
        })?;
        match collected {
            Ok(collected) => Ok(Body::from(collected.to_bytes())),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Err(error) => Err((StatusCode::BAD_REQUEST, format!("incomplete body: {error}"))),
        }
    }
}

/// Refuses a request of another site that may change something.
fn forbidden(method: &Method, headers: &HeaderMap) -> Option<(StatusCode, String)> {
    if method.is_safe() {
        return None;
    }
    cross_site::refusal(headers).map(|why| (StatusCode::FORBIDDEN, why.to_owned()))
}

#[cfg(test)]
mod tests;
