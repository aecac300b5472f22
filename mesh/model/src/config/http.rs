//! HTTP client settings shared by scrapes, discovery and remote write
//! (`http_config` of Prometheus).

use std::{collections::BTreeMap, path::PathBuf};

use url::Url;

use super::secret::Secret;

/// HTTP query or form parameters: values by name.
pub type Params = BTreeMap<String, Vec<String>>;

/// A secret, or the path of a file that is read on each use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The secret, from the configuration file.
    Inline(Secret),
    /// Path of the file with the secret. It is read on each use.
    File(PathBuf),
}

/// Settings of an HTTP client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// Authentication method, if any.
    pub auth: Option<Auth>,
    /// TLS settings for `https` requests.
    pub tls: TlsConfig,
    /// Follow redirects. Default: true.
    pub follow_redirects: bool,
    /// Offer HTTP/2. Default: true.
    pub enable_http2: bool,
    /// Proxy settings.
    pub proxy: ProxyConfig,
    /// Headers that are added to every request.
    pub http_headers: BTreeMap<String, Vec<SecretSource>>,
}

/// Authentication method of an HTTP client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `basic_auth`.
    Basic {
        /// User name.
        username: SecretSource,
        /// Password. Default: empty.
        password: Option<SecretSource>,
    },
    /// `authorization`, or the older `bearer_token` and `bearer_token_file`.
    Authorization {
        /// Authentication scheme. Default: `Bearer`.
        scheme: String,
        /// Credentials that follow the scheme.
        credentials: SecretSource,
    },
    /// `oauth2`, the client-credentials flow.
    OAuth2(Box<OAuth2Config>),
}

/// `oauth2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Config {
    /// Client identifier.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretSource,
    /// Requested scopes.
    pub scopes: Vec<String>,
    /// URL of the token endpoint.
    pub token_url: Url,
    /// Additional form parameters of the token request.
    pub endpoint_params: Params,
    /// TLS settings for the token endpoint.
    pub tls: TlsConfig,
    /// Proxy settings for the token endpoint.
    pub proxy: ProxyConfig,
}

/// A TLS version, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// `TLS10`. Accepted as a minimum; rustls supports only 1.2 and 1.3.
    Tls10,
    /// `TLS11`. Accepted as a minimum; rustls supports only 1.2 and 1.3.
    Tls11,
    /// `TLS12`.
    Tls12,
    /// `TLS13`.
    Tls13,
}

/// A PEM document, or the path of a file that is read again when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PemSource {
    /// The document, from the configuration file.
    Inline(Secret),
    /// Path of the file with the document.
    File(PathBuf),
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsConfig {
    /// Trusted root certificates. Default: those of the system.
    pub ca: Option<PemSource>,
    /// Client certificate chain.
    pub cert: Option<PemSource>,
    /// Key of the client certificate.
    pub key: Option<PemSource>,
    /// Server name for SNI and certificate verification. Default: the host of the URL.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Minimum TLS version. Default: 1.2.
    pub min_version: Option<TlsVersion>,
    /// Maximum TLS version. Default: 1.3.
    pub max_version: Option<TlsVersion>,
}

/// `proxy_url` and the other proxy settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// URL of the proxy: `http`, `https`, `socks5` or `socks5h`.
    pub url: Option<Url>,
    /// Hosts to reach without the proxy, comma-separated as in `NO_PROXY`. Loopback addresses
    /// are among them, unless this is empty and `url` is set.
    pub no_proxy: String,
    /// Use `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` from the environment.
    pub from_environment: bool,
    /// Headers of CONNECT requests.
    pub connect_header: BTreeMap<String, Vec<Secret>>,
}

// === impl HttpClientConfig ===

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy: ProxyConfig::default(),
            http_headers: BTreeMap::new(),
        }
    }
}
