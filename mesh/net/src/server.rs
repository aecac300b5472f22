//! Serves HTTP to untrusted clients.
//!
//! One loop accepts connections, and one task serves each connection: TLS if it is configured,
//! then HTTP/1.1 and HTTP/2, or only HTTP/2 for gRPC.
//!
//! A connection has a maximum age. After it the server sends GOAWAY or `Connection: close`, so
//! that clients with long-lived connections reconnect and reach new pods too. The server closes
//! connections whose clients send no request in time. It answers 400 to an HTTP/1.1 request
//! without exactly one `Host`.
//!
//! ```text
//! accept ─▶ limit ─▶ TLS handshake ─▶ HTTP ─▶ handler(request with its Peer)
//! ```

mod clients;
mod connection;
mod metrics;
mod request_body;
mod requests;
mod responses;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use mesh_base::shutdown::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::task::TaskTracker;
use tracing::warn;

use clients::Clients;
use metrics::CloseReason;
pub use metrics::ServeMetrics;
use request_body::Discard;
pub use request_body::{DiscardLimits, RequestBody};
pub use tls::{ServerTls, ServerTlsError, TlsArgs};

/// HTTP versions that a listener supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 with prior knowledge only: gRPC.
    Http2,
    /// HTTP/1.1, or HTTP/2 by prior knowledge or ALPN.
    Any,
}

/// Limits that a listener applies to its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of open connections. Further connections wait to be accepted.
    pub max_connections: usize,
    /// Maximum number of open connections per client address. Further ones are closed.
    pub max_connections_per_client: usize,
    /// Maximum number of requests in flight per HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Maximum number of requests in flight on all connections, until their responses have been
    /// sent. The server answers further ones with 503.
    pub max_requests: usize,
    /// Time in which a client must read a response. After it the server closes the connection.
    pub response_timeout: Duration,
    /// Limits for the rest of a request that was answered before its end.
    pub discard: DiscardLimits,
    /// Maximum age of a connection. After it the server asks the client to reconnect.
    pub max_connection_age: Duration,
    /// Additional time for requests in flight after the maximum age.
    pub max_connection_age_grace: Duration,
    /// Timeout for the first request, including the TLS handshake. For HTTP/1.1 it is also the
    /// timeout of an idle connection and of a request's head.
    pub header_timeout: Duration,
    /// Interval of HTTP/2 pings.
    pub keepalive_interval: Duration,
    /// Timeout of an HTTP/2 ping.
    pub keepalive_timeout: Duration,
}

/// Address of the client. Every request has it as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

/// A source of incoming connections: a TCP listener, or the network of a simulation.
pub trait Accept: Send {
    /// Connection type.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Accepts the next connection and returns it with the client's address.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

/// A server: a listener and its settings.
#[derive(Debug)]
pub struct Server<L = TcpListener> {
    /// Source of connections.
    pub listener: L,
    /// Supported HTTP versions.
    pub protocol: Protocol,
    /// Limits for clients.
    pub limits: Limits,
    /// TLS settings, or `None` for plain text.
    pub tls: Option<ServerTls>,
    /// Metrics of this listener.
    pub metrics: ServeMetrics,
}

/// Delay after a failed accept, for example because of too many open files.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

// === impl Server ===

impl<L: Accept> Server<L> {
    /// Serves requests with `handler` until the shutdown signal fires and all requests in
    /// flight are complete.
    pub async fn serve<H, F, B>(self, handler: H, shutdown: Shutdown)
    where
        H: Fn(Request<RequestBody>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut listener = self.listener;
        let free = Arc::new(Semaphore::new(self.limits.max_connections));
        let connections = TaskTracker::new();
        let clients = Clients::new(self.limits.max_connections_per_client);
        let settings = connection::Settings {
            requests: Arc::new(Semaphore::new(self.limits.max_requests)),
            discard: Arc::new(Discard {
                limits: self.limits.discard,
                metrics: self.metrics.clone(),
            }),
            protocol: self.protocol,
            limits: self.limits,
            tls: self.tls,
            metrics: self.metrics,
            shutdown: shutdown.clone(),
        };
        let accepting = async {
            loop {
                let permit = free.clone().acquire_owned().await;
                let Some((stream, peer)) = accept(&mut listener).await else {
                    continue;
                };
                let Some(client) = clients.try_open(peer.ip()) else {
                    settings.metrics.closed(CloseReason::ClientLimit);
                    continue;
                };
                let (settings, handler) = (settings.clone(), handler.clone());
                connections.spawn(async move {
                    settings.serve(stream, Peer(peer), handler).await;
                    drop((permit, client));
                });
            }
        };
        shutdown.unless_signaled(accepting).await;
        // Rejects new connections while the open ones end.
        drop(listener);
        connections.close();
        connections.wait().await;
    }
}

async fn accept<L: Accept>(listener: &mut L) -> Option<(L::Io, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!(%error, "Accepting a connection failed");
            sleep(ACCEPT_DELAY).await;
            None
        }
    }
}

// === impl Accept ===

impl Accept for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // A failure affects only latency.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

#[cfg(test)]
mod tests;
