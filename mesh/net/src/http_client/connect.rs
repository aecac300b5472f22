//! Opens connections, directly or through a proxy.

mod dns;
mod to_proxy;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{
        Connected, Connection, HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use mesh_model::config::http::ProxyConfig;
use pin_project_lite::pin_project;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tower::Service;

use self::{dns::Resolver, to_proxy::ToProxy};
use super::proxy::{Proxies, Proxy, ProxyKind};
use crate::connector::{Connector, Io};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time before the first TCP keepalive probe.
///
/// A dead peer is detected after 60 s: 30 s idle time and 3 probes at 10 s. A Kubernetes watch
/// can be silent for a long time, so there is no timeout on reads.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Opens the connections of a client, through a proxy if one is configured.
#[derive(Clone, Debug)]
pub struct Connect {
    dial: Dial,
    proxies: Option<Arc<Proxies>>,
    proxy_tls: Option<ProxyTls>,
}

/// TLS settings for proxies with the scheme `https`.
#[derive(Clone, Debug)]
struct ProxyTls {
    config: Arc<ClientConfig>,
    /// Name to verify; `None` for the host of the proxy.
    server_name: Option<ServerName<'static>>,
}

/// Opens byte streams.
#[derive(Clone, Debug)]
enum Dial {
    /// TCP.
    Tcp(HttpConnector<Resolver>),
    /// The connector that the caller provides.
    Custom(Connector),
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
        // The caller's connector decides the route.
        let proxies = match &connector {
            Some(_) => None,
            None => Proxies::new(config).map(Arc::new),
        };
        Self {
            dial: connector.map_or_else(Dial::tcp, Dial::Custom),
            proxies,
            proxy_tls: None,
        }
    }

    /// Sets the TLS settings for proxies with the scheme `https`. `server_name` is the name to
    /// verify, by default the host of the proxy.
    pub fn with_proxy_tls(
        mut self,
        config: Arc<ClientConfig>,
        server_name: Option<ServerName<'static>>,
    ) -> Self {
        self.proxy_tls = Some(ProxyTls {
            config,
            server_name,
        });
        self
    }

    /// Returns the proxies, if any.
    pub(super) fn proxies(&self) -> Option<Arc<Proxies>> {
        self.proxies.clone()
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
        let mut dial = self.dial.clone();
        let proxies = self.proxies.clone();
        let Some((proxies, proxy)) =
            proxies.and_then(|proxies| Some((proxies.clone(), proxies.of(&target)?.clone())))
        else {
            let connecting = dial.call(target);
            return async move { Ok(Stream::new(connecting.await?, false)) }.boxed();
        };
        let tls = self.proxy_tls.clone();
        async move { through(&proxies, proxy, ToProxy::new(dial, tls), target).await }.boxed()
    }
}

/// Opens a connection to `target` through a proxy.
async fn through(
    proxies: &Proxies,
    proxy: Proxy,
    mut to_proxy: ToProxy,
    target: Uri,
) -> Result<Stream, BoxError> {
    let is_https = target.scheme_str() == Some("https");
    match proxy.kind {
        ProxyKind::Socks5 => {
            let mut socks = SocksV5::new(proxy.uri, to_proxy);
            if let Some(credentials) = proxy.credentials {
                let (username, password) = credentials.text();
                socks = socks.with_auth(username, password);
            }
            let target = with_port(target, if is_https { 443 } else { 80 })?;
            Ok(Stream::new(socks.call(target).await?, false))
        }
        ProxyKind::Http if is_https => {
            let headers = proxies.connect_header.clone();
            let mut tunnel = Tunnel::new(proxy.uri, to_proxy).with_headers(headers);
            if let Some(credentials) = proxy.credentials {
                tunnel = tunnel.with_auth(credentials.basic());
            }
            Ok(Stream::new(tunnel.call(target).await?, false))
        }
        ProxyKind::Http => Ok(Stream::new(to_proxy.call(proxy.uri).await?, true)),
    }
}

/// Adds the default port to a URI without one, since `SocksV5` assumes 443.
fn with_port(target: Uri, default: u16) -> Result<Uri, http::Error> {
    let port = target.port_u16().unwrap_or(default);
    let authority = format!("{}:{port}", target.host().unwrap_or_default());
    Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query("/")
        .build()
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
