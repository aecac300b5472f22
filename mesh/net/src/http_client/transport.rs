//! Sends requests over pooled connections, and sends those again that no server processed.

mod body;
mod connections;
mod retry;

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use mesh_base::budget::Budget;
use prometheus_client::{metrics::counter::Counter, registry::Registry};

use self::{
    connections::Connections,
    retry::{Attempts, Decision},
};
use super::{
    connect::Connect,
    http1::{ConnectionState, Http1Connect, head},
};
use crate::describe;

pub use body::ResponseBody;
pub use retry::Replayable;

const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Interval and timeout of HTTP/2 pings while a response is pending.
///
/// The requests to a peer share few connections. Without pings, a connection that the network
/// drops silently would stay in use for minutes.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// Memory of the large response heads of all clients in bytes (128 MiB).
const LARGE_HEADS: usize = 128 << 20;
/// Size of hyper's buffer, which has to take a whole head.
const MAX_BUFFER: usize = head::MAX_BYTES + (64 << 10);
/// Maximum size of a response head over HTTP/2 in bytes (1 MiB).
const MAX_HTTP2_HEAD: u32 = 1 << 20;
/// Fields that [`head`] adds to those of the server.
const OWN_FIELDS: usize = 2;

/// Requests that any client has sent again.
static RESENT: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Registers the metrics of all HTTP clients of the process.
pub fn register_metrics(registry: &mut Registry) {
    registry.register(
        "http_client_requests_resent",
        "Requests to targets, discovery and backends that were sent again because the server had \
         not processed them",
        RESENT.clone(),
    );
}

/// Sends requests over pooled connections. Cheap to clone; clones share the connections.
///
/// A request is sent again if the server did not process it, as in Go: the server closed a
/// reused connection before it responded, or announced over HTTP/2 that it ignored the
/// request. Over HTTP/1, a request that may have reached the server is sent again only if
/// its method is safe or if it is [`Replayable`].
#[derive(Clone, Debug)]
pub struct Transport {
    connections: Connections<Pool>,
}

/// Connections to each server: any number for HTTP/1, one for HTTP/2.
type Pool = Client<Http1Connect<HttpsConnector<Connect>>, Full<Bytes>>;

/// Failure of a request without a response.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}{}",
    if *.may_have_arrived { "sent again: " } else { "" },
    describe(.source)
)]
pub struct TransportError {
    source: legacy::Error,
    /// True if the server may have received the request at an earlier attempt.
    may_have_arrived: bool,
}

// === impl Transport ===

impl Transport {
    /// Creates a transport that opens its connections with `connector`.
    pub fn new(connector: HttpsConnector<Connect>) -> Self {
        static HEADS: LazyLock<Budget> = LazyLock::new(|| Budget::new(LARGE_HEADS));
        Self::with_head_budget(connector, HEADS.clone())
    }

    /// Creates a transport whose large response heads share `heads`.
    pub(super) fn with_head_budget(connector: HttpsConnector<Connect>, heads: Budget) -> Self {
        let connect = Http1Connect { connector, heads };
        let open = move || {
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .http1_max_buf_size(MAX_BUFFER)
                .http1_max_headers(head::MAX_FIELDS + OWN_FIELDS)
                .http2_max_header_list_size(MAX_HTTP2_HEAD)
                .http2_keep_alive_interval(KEEPALIVE)
                .http2_keep_alive_timeout(KEEPALIVE)
                .build(connect.clone())
        };
        Self {
            connections: Connections::new(open),
        }
    }

    /// Sends a request and returns the head of the response.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    pub async fn request(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let mut attempts = Attempts::new(&request);
        let mut may_have_arrived = false;
        loop {
            let (pool, stream) = self.connections.pool(request.uri());
            let error = match pool.request(request.clone().map(Full::new)).await {
                Ok(mut response) => {
                    if let Some(state) = response.extensions_mut().remove::<ConnectionState>() {
                        state.mark_used();
                        if let Some(stream) = &stream {
                            stream.set_limit(state.max_in_flight());
                        }
                    }
                    return Ok(response.map(|body| ResponseBody::new(body, stream)));
                }
                Err(error) => error,
            };
            match attempts.decide(&error) {
                Decision::Fail => {
                    return Err(TransportError {
                        source: error,
                        may_have_arrived,
                    });
                }
                Decision::Repeat { after, unprocessed } => {
                    may_have_arrived |= !unprocessed;
                    RESENT.inc();
                    if !after.is_zero() {
                        tokio::time::sleep(after).await;
                    }
                }
            }
        }
    }
}

// === impl TransportError ===

impl TransportError {
    /// Returns true if no connection was opened and the server received nothing.
    pub fn is_connect(&self) -> bool {
        self.source.is_connect() && !self.may_have_arrived
    }
}
