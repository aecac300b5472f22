//! One connection, from its first byte to its last.

use std::{convert::Infallible, pin::pin, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{Limits, Peer, Protocol, ServeMetrics, ServerTls, metrics::Closed};
use mesh_base::shutdown::Shutdown;

/// Bytes of a request's head.
const MAX_HEAD_BYTES: u32 = 32 << 10;

/// What all connections of a listener share.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    pub(super) protocol: Protocol,
    pub(super) limits: Limits,
    pub(super) tls: Option<ServerTls>,
    pub(super) metrics: ServeMetrics,
    pub(super) shutdown: Shutdown,
}

// === impl Serving ===

impl Serving {
    /// Serves a connection to its end.
    pub(super) async fn connection<I, H, F, B>(self, stream: I, peer: Peer, handler: H)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let _open = self.metrics.opened();
        let first_request_by = Instant::now() + self.limits.header_timeout;
        let Some(tls) = &self.tls else {
            return self.http(stream, peer, handler, first_request_by).await;
        };
        match timeout_at(first_request_by, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, peer, handler, first_request_by).await,
            Ok(Err(error)) => {
                self.metrics.handshake_failed(&error);
                info!(peer = %peer.0, %error, "TLS handshake failed");
            }
            Err(_) => self.metrics.closed(Closed::Silent),
        }
    }

    async fn http<I, H, F, B>(&self, io: I, peer: Peer, handler: H, first_request_by: Instant)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (asked, mut first_request) = watch::channel(false);
        let service = service_fn(move |mut request: Request<Incoming>| {
            asked.send_replace(true);
            request.extensions_mut().insert(peer);
            let answering = handler(request);
            async move { Ok::<_, Infallible>(answering.await) }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let silent = async {
            let asked = timeout_at(first_request_by, first_request.wait_for(|asked| *asked));
            if asked.await.is_ok() {
                std::future::pending::<()>().await;
            }
            Closed::Silent
        };
        let aged = sleep(spread(self.limits.max_connection_age));
        let why = tokio::select! {
            biased;
            ended = connection.as_mut() => return self.ended(peer, ended),
            why = silent => why,
            () = aged => Closed::Aged,
            () = self.shutdown.signaled() => Closed::Stopping,
        };
        self.metrics.closed(why);
        if why == Closed::Silent {
            return;
        }
        // HTTP/2 gets a GOAWAY, HTTP/1.1 a Connection: close with its last answer.
        connection.as_mut().graceful_shutdown();
        // A stopping service has a deadline of its own.
        match why {
            Closed::Stopping => self.ended(peer, connection.await),
            _ => match timeout(self.limits.max_connection_age_grace, connection).await {
                Ok(ended) => self.ended(peer, ended),
                Err(_) => debug!(peer = %peer.0, "Connection cut off"),
            },
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        if self.protocol == Protocol::Http2 {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(MAX_HEAD_BYTES)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        builder
    }

    fn ended(&self, peer: Peer, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
        if let Err(error) = ended {
            self.metrics.closed(Closed::Broken);
            debug!(peer = %peer.0, %error, "Connection broken");
        }
    }
}

/// Up to a tenth less, so that clients that came together do not leave together.
fn spread(age: Duration) -> Duration {
    age.mul_f64(mesh_base::random::range(0.9..1.0))
}
