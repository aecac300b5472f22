//! Serves HTTP to many clients that nobody vouches for.
//!
//! One loop accepts, one task a connection serves it: TLS where it is configured,
//! HTTP/1.1 and HTTP/2, or HTTP/2 alone for gRPC. A connection has an age, after
//! which it is told to go elsewhere (GOAWAY, `Connection: close`), so that new pods
//! get their share of clients that never let go; a client that connects and says
//! nothing is sent away.
//!
//! ```text
//! accept ─▶ bound ─▶ TLS handshake ─▶ HTTP ─▶ handler(request with its Peer)
//! ```

mod connection;
mod metrics;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::task::TaskTracker;
use tracing::warn;

use mesh_base::shutdown::Shutdown;

pub use metrics::ServeMetrics;
pub use tls::{ServerTls, ServerTlsError, TlsArgs};

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 from the first byte: gRPC.
    Http2,
    /// HTTP/1.1, or HTTP/2 where the client begins with it or asks by ALPN.
    Any,
}

/// What a listener allows its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; one more waits to be accepted.
    pub max_connections: usize,
    /// Requests that one HTTP/2 connection may have under way.
    pub max_concurrent_streams: u32,
    /// When a connection is told to go elsewhere, from its start.
    pub max_connection_age: Duration,
    /// What it is then given to finish.
    pub max_connection_age_grace: Duration,
    /// How long a client has for its first request, TLS included, and how long an
    /// HTTP/1.1 connection may be idle or take over a request's head.
    pub header_timeout: Duration,
    /// How often a silent HTTP/2 client is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// How long it has to answer that.
    pub keepalive_timeout: Duration,
}

/// Who sent a request: an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

/// Where connections come from: TCP, or the network of a test.
pub trait Accept: Send {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and whose it is.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

/// A listener with what it needs to serve.
#[derive(Debug)]
pub struct Server<L = TcpListener> {
    /// Where connections come from.
    pub listener: L,
    /// Which versions of HTTP are spoken.
    pub protocol: Protocol,
    /// What clients are allowed.
    pub limits: Limits,
    /// TLS, where it is spoken.
    pub tls: Option<ServerTls>,
    /// What is counted.
    pub metrics: ServeMetrics,
}

/// What a failure to accept is given to pass, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// === impl Server ===

impl<L: Accept> Server<L> {
    /// Answers requests with `handler` until it is time to stop and the requests
    /// under way are answered.
    pub async fn serve<H, F, B>(self, handler: H, shutdown: Shutdown)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut listener = self.listener;
        let free = Arc::new(Semaphore::new(self.limits.max_connections));
        let connections = TaskTracker::new();
        let serving = connection::Serving {
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
                let (serving, handler) = (serving.clone(), handler.clone());
                connections.spawn(async move {
                    serving.connection(stream, Peer(peer), handler).await;
                    drop(permit);
                });
            }
        };
        shutdown.unless_signaled(accepting).await;
        // New connections are refused while those there are end.
        drop(listener);
        connections.close();
        connections.wait().await;
    }
}

async fn accept<L: Accept>(listener: &mut L) -> Option<(L::Io, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!(%error, "Connection not accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

// === impl Accept ===

impl Accept for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Only latency suffers where it cannot be set.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

#[cfg(test)]
mod tests;
