//! Opens connections to a proxy.

use std::{
    io,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::{BoxError, Dial, ProxyTls};
use crate::{connector::Io, describe};

/// Opens connections to a proxy, with TLS if the scheme of its URL is `https`.
#[derive(Clone, Debug)]
pub(super) struct ToProxy {
    dial: Dial,
    tls: Option<ProxyTls>,
}

// === impl ToProxy ===

impl ToProxy {
    pub(super) fn new(dial: Dial, tls: Option<ProxyTls>) -> Self {
        Self { dial, tls }
    }
}

impl Service<Uri> for ToProxy {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dial.poll_ready(cx)
    }

    fn call(&mut self, proxy: Uri) -> Self::Future {
        let connecting = self.dial.call(proxy.clone());
        let tls = self.tls.clone();
        async move {
            let failed = |error: BoxError| format!("proxy {proxy}: {}", describe(&*error));
            let stream = connecting.await.map_err(failed)?;
            if proxy.scheme_str() != Some("https") {
                return Ok(stream);
            }
            let tls = tls.ok_or("proxy_url: no TLS settings for a proxy with the scheme https")?;
            Ok(tls.handshake(stream, &proxy).await?)
        }
        .boxed()
    }
}

// === impl ProxyTls ===

impl ProxyTls {
    async fn handshake(
        self,
        stream: TokioIo<Box<dyn Io>>,
        proxy: &Uri,
    ) -> io::Result<TokioIo<Box<dyn Io>>> {
        let host = proxy.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = match self.server_name {
            Some(name) => name,
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let connector = TlsConnector::from(self.config);
        let stream = connector.connect(name, stream.into_inner()).await?;
        Ok(TokioIo::new(Box::new(stream)))
    }
}
