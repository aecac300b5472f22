//! The HTTP client of scrapes, discovery and remote write.
//!
//! It is configured by [`HttpClientConfig`]. Secret files are read on each request, as in
//! Prometheus. Certificates are reloaded within 5 s of a change of their files. So rotated
//! credentials take effect without a reload of the configuration. A certificate or key that is
//! missing or invalid at first fails the requests until it can be used.

mod auth;
mod connect;
mod credentials;
mod http1;
mod oauth2;
mod proxy;
mod redirect;
mod transport;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{AUTHORIZATION, PROXY_AUTHORIZATION},
    request::Parts,
};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use mesh_base::{awaited_file::AwaitedFile, error::causes};
use mesh_model::config::http::{HttpClientConfig, SecretSource};

use self::{
    auth::Authenticator,
    credentials::UrlCredentials,
    proxy::Proxies,
    redirect::{LeftOrigin, Redirects},
};
use crate::{
    connector::Connector,
    tls::{self, TlsError},
};

pub use connect::Connect;
pub use redirect::KeepsMethod;
pub use transport::{Replayable, ResponseBody, Transport, TransportError, register_metrics};

/// An HTTP client. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

/// Error of a request without a response.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A secret file cannot be read.
    #[error("{path}: {source}")]
    Secret {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A secret or a configured value is not a valid header value.
    #[error("header {0}: invalid value")]
    Header(HeaderName),
    /// The token request failed.
    #[error("oauth2: {0}")]
    OAuth2(String),
    /// The connection failed or could not be opened.
    #[error(transparent)]
    Connection(#[from] TransportError),
    /// A redirect is invalid, or there are too many.
    #[error("redirect: {0}")]
    Redirect(String),
}

#[derive(Debug)]
struct Shared {
    /// Name of the client in log lines, such as `job "node"`.
    name: Arc<str>,
    config: HttpClientConfig,
    /// Opens the connections, in place of TCP.
    connector: Option<Connector>,
    authenticator: Option<Authenticator>,
    proxies: Option<Arc<Proxies>>,
    /// Connections with the current certificates.
    transport: AwaitedFile<Transport, HttpClientError>,
}

// === impl HttpClientError ===

impl HttpClientError {
    /// Returns true if a certificate or key cannot be used, or if a TLS handshake failed.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Connection(error) => causes(error).any(|cause| cause.is::<rustls::Error>()),
            _ => false,
        }
    }
}

// === impl HttpClient ===

impl HttpClient {
    /// Builds a client with the given settings. Must be called in a tokio runtime if they
    /// refer to certificate files.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be used. A certificate or key that cannot be used
    /// is an error of each request.
    pub fn new(config: &HttpClientConfig) -> Result<Self, HttpClientError> {
        Self::named("HTTP client", config)
    }

    /// Builds a client with the given settings. `name` is its name in log lines, such as
    /// `job "node"`. Must be called in a tokio runtime if the settings refer to certificate files.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be used. A certificate or key that cannot be used
    /// is an error of each request.
    pub fn named(
        name: impl Into<Arc<str>>,
        config: &HttpClientConfig,
    ) -> Result<Self, HttpClientError> {
        Self::with_connector(name, config, None)
    }

    /// Builds a client with the same settings and connections of its own.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be used. A certificate or key that cannot be used
    /// is an error of each request.
    pub fn with_own_connections(&self) -> Result<Self, HttpClientError> {
        let name = self.shared.name.clone();
        Self::with_connector(name, &self.shared.config, self.shared.connector.clone())
    }

    /// Builds a client with the same settings that sends all requests to a Unix socket. The
    /// URLs of the requests do not change.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be used. A certificate or key that cannot be used
    /// is an error of each request.
    pub fn over_unix_socket(&self, path: &Path) -> Result<Self, HttpClientError> {
        let path: Arc<Path> = path.into();
        let connector = Connector::new(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(&path).await }
        });
        let name = self.shared.name.clone();
        Self::with_connector(name, &self.shared.config, Some(connector))
    }

    /// Builds a client like [`named`](Self::named) that opens its connections with `connector`, or
    /// over TCP if there is none.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be used. A certificate or key that cannot be used
    /// is an error of each request.
    pub fn with_connector(
        name: impl Into<Arc<str>>,
        config: &HttpClientConfig,
        connector: Option<Connector>,
    ) -> Result<Self, HttpClientError> {
        let name = name.into();
        let authenticator = match &config.auth {
            Some(auth) => Some(Authenticator::new(&name, auth)?),
            None => None,
        };
        let files = tls::files(&config.tls).map(Path::to_owned).collect();
        let connect = Connect::new(&config.proxy, connector.clone());
        let proxies = connect.proxies();
        let build = {
            let config = config.clone();
            move || build(&config, connect.clone())
        };
        let shared = Shared {
            config: config.clone(),
            connector,
            authenticator,
            proxies,
            transport: AwaitedFile::watch(format!("tls_config of {name}"), files, build),
            name,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Sends a request and returns the head of the response. The caller sets the timeout and
    /// reads the body.
    ///
    /// # Errors
    /// Returns an error if there is no response.
    pub async fn request(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, HttpClientError> {
        let mut redirects = Redirects::new(request.uri());
        let mut request = request;
        loop {
            let response = self.send(&request).await?;
            if !self.shared.config.follow_redirects {
                return Ok(response);
            }
            match redirects.follow(request, &response)? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
    }

    /// Sends one request without following redirects.
    async fn send(
        &self,
        request: &Request<Bytes>,
    ) -> Result<Response<ResponseBody>, HttpClientError> {
        let (mut parts, body) = request.clone().into_parts();
        self.authorize(&mut parts).await?;
        let transport = self.shared.transport.load()?;
        Ok(transport.request(Request::from_parts(parts, body)).await?)
    }

    /// Adds the configured headers and credentials. Moves the credentials of the URL into the
    /// `Authorization` header.
    async fn authorize(&self, parts: &mut Parts) -> Result<(), HttpClientError> {
        let in_url = UrlCredentials::take(&mut parts.uri);
        let left_origin = parts.extensions.get::<LeftOrigin>().is_some();
        if !left_origin {
            self.add_headers(parts).await?;
        }
        if let Some(in_url) = in_url
            && !parts.headers.contains_key(AUTHORIZATION)
        {
            parts.headers.insert(AUTHORIZATION, in_url.basic());
        }
        if let Some(authenticator) = &self.shared.authenticator
            && !left_origin
        {
            authenticator.authenticate(&mut parts.headers).await?;
        }
        let for_proxy = self.shared.proxies.as_ref();
        if let Some(value) = for_proxy.and_then(|proxies| proxies.authorization(&parts.uri)) {
            parts.headers.insert(PROXY_AUTHORIZATION, value);
        }
        Ok(())
    }

    async fn add_headers(&self, parts: &mut Parts) -> Result<(), HttpClientError> {
        for (name, values) in &self.shared.config.http_headers {
            let Ok(name) = name.parse::<HeaderName>() else {
                continue;
            };
            for value in values {
                let value = header(&name, &secret(value).await?)?;
                parts.headers.append(&name, value);
            }
        }
        Ok(())
    }
}

/// Builds a transport with the current contents of the certificate files.
fn build(config: &HttpClientConfig, connect: Connect) -> Result<Transport, HttpClientError> {
    let tls = tls::client_config(&config.tls)?;
    let name = config.tls.server_name.clone();
    let name = name.and_then(|name| rustls_pki_types::ServerName::try_from(name).ok());
    let connect = connect.with_proxy_tls(Arc::new(tls.clone()), name.clone());
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    let builder = match name {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
        None => builder,
    };
    let connector = if config.enable_http2 {
        builder
            .enable_http1()
            .enable_http2()
            .wrap_connector(connect)
    } else {
        builder.enable_http1().wrap_connector(connect)
    };
    Ok(Transport::new(connector))
}

/// Returns a secret; reads it from its file if necessary.
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

#[cfg(test)]
mod tests;
