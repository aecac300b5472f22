//! Connections: direct, or through a proxy.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::HOST};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::{
        legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use pin_project_lite::pin_project;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::either::Either;
use tower::Service;

use crate::config::http::ProxyConfig;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that is gone without a word is noticed after a minute: 30 s of silence,
/// then this many probes at this interval. A watch may be silent for long.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Opens the connections of a client.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    http: HttpConnector,
    /// Where all connections go, whatever is asked for.
    unix_socket: Option<Arc<Path>>,
    proxies: Option<Arc<Proxies>>,
}

#[derive(Debug)]
struct Proxies {
    matcher: Matcher,
    connect_header: HeaderMap,
}

pin_project! {
    /// A connection, which remembers whether a proxy reads its requests.
    pub(crate) struct Stream {
        #[pin]
        io: TokioIo<Either<TcpStream, UnixStream>>,
        proxied: bool,
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

// === impl Connect ===

impl Connect {
    pub(crate) fn new(config: &ProxyConfig, unix_socket: Option<Arc<Path>>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(PROBE_INTERVAL));
        http.set_keepalive_retries(Some(PROBES));
        let matcher = match &config.url {
            Some(url) => Some(
                Matcher::builder()
                    .all(url.as_str())
                    .no(config.no_proxy.as_str())
                    .build(),
            ),
            None if config.from_environment => Some(Matcher::from_env()),
            None => None,
        };
        let proxies = matcher.map(|matcher| Proxies {
            matcher,
            connect_header: connect_header(config),
        });
        Self {
            http,
            unix_socket,
            proxies: proxies.map(Arc::new),
        }
    }
}

impl Service<Uri> for Connect {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        if let Some(path) = self.unix_socket.clone() {
            let connecting = timeout(CONNECT_TIMEOUT, UnixStream::connect(path));
            return async move { Ok(Stream::unix(connecting.await??)) }.boxed();
        }
        let through = self
            .proxies
            .as_ref()
            .and_then(|proxies| Some((proxies.clone(), proxies.matcher.intercept(&target)?)));
        let mut http = self.http.clone();
        let Some((proxies, proxy)) = through else {
            let connecting = http.call(target);
            return async move { Ok(Stream::new(connecting.await?, false)) }.boxed();
        };
        if target.scheme_str() != Some("https") {
            let connecting = http.call(proxy.uri().clone());
            return async move { Ok(Stream::new(connecting.await?, true)) }.boxed();
        }
        let mut tunnel =
            Tunnel::new(proxy.uri().clone(), http).with_headers(proxies.connect_header.clone());
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        async move { Ok(Stream::new(tunnel.call(target).await?, false)) }.boxed()
    }
}

fn connect_header(config: &ProxyConfig) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.connect_header {
        let name = name.parse::<HeaderName>().ok().filter(|name| name != HOST);
        let values = values
            .iter()
            .filter_map(|v| HeaderValue::from_str(v.expose()).ok());
        for (name, value) in name
            .into_iter()
            .flat_map(|name| values.clone().map(move |v| (name.clone(), v)))
        {
            headers.append(name, value);
        }
    }
    headers
}

// === impl Stream ===

impl Stream {
    fn new(io: TokioIo<TcpStream>, proxied: bool) -> Self {
        let io = TokioIo::new(Either::Left(io.into_inner()));
        Self { io, proxied }
    }

    fn unix(stream: UnixStream) -> Self {
        let io = TokioIo::new(Either::Right(stream));
        Self { io, proxied: false }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }
}
