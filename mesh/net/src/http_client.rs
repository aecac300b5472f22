//! The HTTP client of scrapes, discovery and remote write, as the HTTP client
//! settings of a configuration describe it.
//!
//! Secrets in files are read on every request, certificates when their files have
//! changed, so that rotated ones are taken up without a reload.

mod auth;
mod connect;
mod oauth2;
mod redirect;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};

use crate::connector::Connector;
use crate::tls::{self, TlsError};
use auth::Authenticator;
use mesh_model::config::http::{HttpClientConfig, SecretSource};

pub use connect::Connect;

const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How often an HTTP/2 peer that owes a response is asked whether it is there, and how
/// long it has: all requests to it share one connection, which would otherwise be
/// trusted for minutes after the network has swallowed it.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// An HTTP client. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

/// A request that got no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file with a secret cannot be read.
    #[error("{path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A secret or header value is not legal in a header.
    #[error("header {0}: not a legal value")]
    Header(HeaderName),
    /// No token could be had.
    #[error("oauth2: {0}")]
    OAuth2(String),
    /// Connecting failed, or the connection did.
    #[error("{}", chain(.0))]
    Connection(#[from] legacy::Error),
    /// The server redirects for ever, or to nowhere.
    #[error("redirect: {0}")]
    Redirect(String),
}

#[derive(Debug)]
struct Shared {
    config: HttpClientConfig,
    connector: Option<Connector>,
    authenticator: Option<Authenticator>,
    current: ArcSwap<Current>,
}

/// The client of the certificates as they were when it was made.
#[derive(Debug)]
struct Current {
    client: Client<HttpsConnector<Connect>, Full<Bytes>>,
    versions: Vec<Option<SystemTime>>,
}

// === impl HttpClient ===

impl HttpClient {
    /// A client with the given settings.
    ///
    /// # Errors
    /// Where a certificate or key cannot be used.
    pub fn new(config: &HttpClientConfig) -> Result<Self, HttpClientError> {
        Self::with_connector(config, None)
    }

    /// A client with the same settings whose connections all go to a Unix socket;
    /// what is asked for stays in the requests.
    ///
    /// # Errors
    /// Where a certificate or key cannot be used.
    pub fn over_unix_socket(&self, path: &Path) -> Result<Self, HttpClientError> {
        let path: Arc<Path> = path.into();
        let connector = Connector::new(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(&path).await }
        });
        Self::with_connector(&self.shared.config, Some(connector))
    }

    /// A client that opens its connections through `connector` where one is given,
    /// whatever is asked for, and
    /// otherwise by TCP.
    ///
    /// # Errors
    /// Where a certificate or key cannot be used.
    pub fn with_connector(
        config: &HttpClientConfig,
        connector: Option<Connector>,
    ) -> Result<Self, HttpClientError> {
        let authenticator = config.auth.as_ref().map(Authenticator::new).transpose()?;
        let current = Current::new(config, connector.clone())?;
        let shared = Shared {
            config: config.clone(),
            connector,
            authenticator,
            current: ArcSwap::from_pointee(current),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Sends a request and returns the response's head; the caller bounds the time
    /// and reads the body.
    ///
    /// # Errors
    /// Where there is no response.
    pub async fn request(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, HttpClientError> {
        let mut request = request;
        for hop in 0.. {
            let response = self.once(&request).await?;
            if !self.shared.config.follow_redirects {
                return Ok(response);
            }
            match redirect::follow(request, &response, hop)? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        unreachable!("redirects are bounded")
    }

    async fn once(&self, request: &Request<Bytes>) -> Result<Response<Incoming>, HttpClientError> {
        let client = self.shared.client()?;
        let (mut parts, body) = request.clone().into_parts();
        for (name, values) in &self.shared.config.http_headers {
            let Ok(name) = name.parse::<HeaderName>() else {
                continue;
            };
            parts.headers.remove(&name);
            for value in values {
                parts
                    .headers
                    .append(&name, header(&name, &secret(value).await?)?);
            }
        }
        let leaves_origin = parts.extensions.get::<redirect::LeftOrigin>().is_some();
        if let Some(authenticator) = &self.shared.authenticator
            && !leaves_origin
        {
            authenticator.authenticate(&mut parts.headers).await?;
        }
        Ok(client
            .request(Request::from_parts(parts, Full::new(body)))
            .await?)
    }
}

// === impl Shared ===

impl Shared {
    /// The client; made anew where a certificate's file has changed.
    fn client(&self) -> Result<Client<HttpsConnector<Connect>, Full<Bytes>>, HttpClientError> {
        let current = self.current.load();
        if current.versions == versions(&self.config) {
            return Ok(current.client.clone());
        }
        let fresh = Current::new(&self.config, self.connector.clone())?;
        let client = fresh.client.clone();
        self.current.store(Arc::new(fresh));
        Ok(client)
    }
}

// === impl Current ===

impl Current {
    fn new(
        config: &HttpClientConfig,
        connector: Option<Connector>,
    ) -> Result<Self, HttpClientError> {
        let versions = versions(config);
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(&config.tls)?)
            .https_or_http();
        let name = config.tls.server_name.clone();
        let name = name.and_then(|name| rustls_pki_types::ServerName::try_from(name).ok());
        let builder = match name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connect = Connect::new(&config.proxy, connector);
        let connector = if config.enable_http2 {
            builder
                .enable_http1()
                .enable_http2()
                .wrap_connector(connect)
        } else {
            builder.enable_http1().wrap_connector(connect)
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEPALIVE)
            .http2_keep_alive_timeout(KEEPALIVE)
            .build(connector);
        Ok(Self { client, versions })
    }
}

/// When each certificate's file was written last.
fn versions(config: &HttpClientConfig) -> Vec<Option<SystemTime>> {
    let modified = |path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    tls::files(&config.tls).map(modified).collect()
}

async fn secret(source: &SecretSource) -> Result<String, HttpClientError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.expose().to_owned()),
        SecretSource::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(HttpClientError::Secret {
                path: path.clone(),
                source,
            }),
        },
    }
}

fn header(name: &HeaderName, value: &str) -> Result<HeaderValue, HttpClientError> {
    HeaderValue::from_str(value).map_err(|_| HttpClientError::Header(name.clone()))
}

/// An error and all it comes from: hyper's own messages do not say why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
