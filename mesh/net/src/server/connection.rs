//! Serves one connection from start to end.

use std::{pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use mesh_base::shutdown::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info};

use super::{
    Limits, Peer, Protocol, RequestBody, ServeMetrics, ServerTls, metrics::CloseReason,
    request_body::Discard, requests::Requests, responses::Responses,
};

/// Maximum size of a request's head in bytes.
const MAX_HEAD_BYTES: u32 = 32 << 10;

/// Maximum bytes of responses that HTTP/2 buffers for each stream.
const MAX_SEND_BYTES: usize = 64 << 10;

/// Settings that all connections of a listener share.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Permits of requests in flight on all connections.
    pub(super) requests: Arc<Semaphore>,
    pub(super) discard: Arc<Discard>,
    pub(super) protocol: Protocol,
    pub(super) limits: Limits,
    pub(super) tls: Option<ServerTls>,
    pub(super) metrics: ServeMetrics,
    pub(super) shutdown: Shutdown,
}

// === impl Settings ===

impl Settings {
    /// Serves a connection until it ends.
    pub(super) async fn serve<I, H, F, B>(self, stream: I, peer: Peer, handler: H)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<RequestBody>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let _open = self.metrics.opened();
        let deadline = Instant::now() + self.limits.header_timeout;
        let Some(tls) = &self.tls else {
            return self.http(stream, peer, handler, deadline).await;
        };
        match timeout_at(deadline, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, peer, handler, deadline).await,
            Ok(Err(error)) => {
                self.metrics.handshake_failed(&error);
                info!(peer = %peer.0, %error, "TLS handshake failed");
            }
            Err(_) => self.metrics.closed(CloseReason::Silent),
        }
    }

    /// Serves HTTP. Closes the connection if no request has arrived by `deadline`.
    async fn http<I, H, F, B>(&self, io: I, peer: Peer, handler: H, deadline: Instant)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<RequestBody>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (requested, mut has_request) = watch::channel(false);
        let responses = Responses::default();
        let requests = Requests {
            peer,
            handler,
            permits: self.requests.clone(),
            discard: self.discard.clone(),
            responses: responses.clone(),
            has_request: requested,
            metrics: self.metrics.clone(),
        };
        let service = service_fn(move |request| requests.respond(request));
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let silent = async {
            let request = timeout_at(deadline, has_request.wait_for(|has_request| *has_request));
            if request.await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let aged = sleep(jitter(self.limits.max_connection_age));
        let reason = tokio::select! {
            // A connection that has ended needs no reason for closing it.
            biased;
            ended = connection.as_mut() => {
                if ended.is_err() {
                    self.metrics.closed(CloseReason::Broken);
                }
                return log_end(peer, ended);
            }
            () = silent => CloseReason::Silent,
            () = responses.unread_for(self.limits.response_timeout) => CloseReason::Unread,
            () = aged => CloseReason::Aged,
            () = self.shutdown.signaled() => CloseReason::Shutdown,
        };
        self.metrics.closed(reason);
        if matches!(reason, CloseReason::Silent | CloseReason::Unread) {
            return;
        }
        // Sends GOAWAY on HTTP/2, and `Connection: close` with the last response on HTTP/1.1.
        connection.as_mut().graceful_shutdown();
        if reason == CloseReason::Shutdown {
            // The service applies its own drain timeout to requests in flight.
            return tokio::select! {
                biased;
                ended = connection => log_end(peer, ended),
                () = responses.unread_for(self.limits.response_timeout) => {}
            };
        }
        match timeout(self.limits.max_connection_age_grace, connection).await {
            Ok(ended) => log_end(peer, ended),
            Err(_) => debug!(peer = %peer.0, "Connection aborted"),
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
            .max_send_buf_size(MAX_SEND_BYTES)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        builder
    }
}

fn log_end(peer: Peer, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        debug!(peer = %peer.0, %error, "Connection failed");
    }
}

/// Shortens a connection's maximum age by up to 10 %, so that clients that connected together
/// do not reconnect together.
fn jitter(age: Duration) -> Duration {
    age.mul_f64(mesh_base::random::range(0.9..1.0))
}
