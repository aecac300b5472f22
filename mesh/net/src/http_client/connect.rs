//! Opens connections, directly or through a proxy.

mod dns;

use std::{
    io,
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
use mesh_model::config::http::ProxyConfig;
use pin_project_lite::pin_project;
use tower::Service;

use self::dns::Resolver;
use crate::connector::{Connector, Io};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time before the first TCP keepalive probe.
///
/// A dead peer is detected after 60 s: 30 s idle time and 3 probes at 10 s. A Kubernetes watch
/// can be silent for long, so there is no timeout on reads.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Opens the connections of a client, through a proxy if one is configured.
#[derive(Clone, Debug)]
pub struct Connect {
    dial: Dial,
    proxies: Option<Arc<Proxies>>,
}

/// Opens byte streams.
#[derive(Clone, Debug)]
enum Dial {
    /// TCP.
    Tcp(HttpConnector<Resolver>),
    /// The connector that the caller provides.
    Custom(Connector),
}

#[derive(Debug)]
struct Proxies {
    matcher: Matcher,
    connect_header: HeaderMap,
}

pin_project! {
    /// A connection.
    pub struct Stream {
        #[pin]
        io: TokioIo<Box<dyn Io>>,
        // True if a proxy reads the requests, which then contain absolute URLs.
        proxied: bool,
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

// === impl Connect ===

impl Connect {
    /// Opens connections with `connector`, or over TCP if there is none.
    pub fn new(config: &ProxyConfig, connector: Option<Connector>) -> Self {
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
            dial: connector.map_or_else(Dial::tcp, Dial::Custom),
            proxies: proxies.map(Arc::new),
        }
    }
}

impl Service<Uri> for Connect {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dial.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let proxies = match &self.dial {
            Dial::Tcp(_) => self.proxies.as_ref(),
            // The caller's connector decides the route.
            Dial::Custom(_) => None,
        };
        let through = proxies
            .and_then(|proxies| Some((proxies.clone(), proxies.matcher.intercept(&target)?)));
        let mut dial = self.dial.clone();
        let Some((proxies, proxy)) = through else {
            let connecting = dial.call(target);
            return async move { Ok(Stream::new(connecting.await?, false)) }.boxed();
        };
        if target.scheme_str() != Some("https") {
            let connecting = dial.call(proxy.uri().clone());
            return async move { Ok(Stream::new(connecting.await?, true)) }.boxed();
        }
        let mut tunnel =
            Tunnel::new(proxy.uri().clone(), dial).with_headers(proxies.connect_header.clone());
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        async move { Ok(Stream::new(tunnel.call(target).await?, false)) }.boxed()
    }
}

// === impl Dial ===

impl Dial {
    fn tcp() -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver::new());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(PROBE_INTERVAL));
        http.set_keepalive_retries(Some(PROBES));
        Self::Tcp(http)
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Tcp(http) => http.poll_ready(cx).map_err(Into::into),
            Self::Custom(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Tcp(http) => {
                let connecting = http.call(target);
                async move {
                    let stream: Box<dyn Io> = Box::new(connecting.await?.into_inner());
                    Ok(TokioIo::new(stream))
                }
                .boxed()
            }
            Self::Custom(connector) => {
                let connector = connector.clone();
                async move {
                    let host = target.host().unwrap_or_default();
                    let port = target.port_u16().unwrap_or(80);
                    let stream = connector.connect(&format!("{host}:{port}")).await?;
                    Ok(TokioIo::new(stream))
                }
                .boxed()
            }
        }
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
    fn new(io: TokioIo<Box<dyn Io>>, proxied: bool) -> Self {
        Self { io, proxied }
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
