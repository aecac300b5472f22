//! HTTP client settings shared by scrapes, discovery and remote write
//! (`http_config` of Prometheus).

use std::{collections::BTreeMap, path::PathBuf};

use url::Url;

use super::{Params, Secret};

/// A secret given in the file, or the path of a file that is read on every use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// Given in the configuration file.
    Inline(Secret),
    /// Read from this file each time it is needed.
    File(PathBuf),
}

/// How a client connects and who it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// At most one way to authenticate.
    pub auth: Option<Auth>,
    /// TLS of `https` requests.
    pub tls: TlsConfig,
    /// Whether redirects are followed; `true` unless given.
    pub follow_redirects: bool,
    /// Whether HTTP/2 is offered; `true` unless given.
    pub enable_http2: bool,
    /// The proxy, if any.
    pub proxy: ProxyConfig,
    /// Headers added to every request.
    pub http_headers: BTreeMap<String, Vec<SecretSource>>,
}

/// How a client authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `basic_auth`.
    Basic {
        /// The user.
        username: SecretSource,
        /// The password, empty unless given.
        password: Option<SecretSource>,
    },
    /// `authorization`, or the older `bearer_token` and `bearer_token_file`.
    Authorization {
        /// `Bearer` unless given.
        scheme: String,
        /// What follows the scheme.
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
    /// Scopes asked for.
    pub scopes: Vec<String>,
    /// Where tokens come from.
    pub token_url: Url,
    /// More form parameters of the token request.
    pub endpoint_params: Params,
    /// TLS towards the token endpoint.
    pub tls: TlsConfig,
    /// Proxy towards the token endpoint.
    pub proxy: ProxyConfig,
}

/// A TLS version, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// `TLS10`, which is refused where it would be used: rustls speaks 1.2 and 1.3.
    Tls10,
    /// `TLS11`, likewise.
    Tls11,
    /// `TLS12`.
    Tls12,
    /// `TLS13`.
    Tls13,
}

/// A PEM document given in the file, or the path of one, read again on change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PemSource {
    /// Given in the configuration file.
    Inline(Secret),
    /// Read from this file.
    File(PathBuf),
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsConfig {
    /// Roots to trust instead of the system's.
    pub ca: Option<PemSource>,
    /// Client certificate chain.
    pub cert: Option<PemSource>,
    /// Client key.
    pub key: Option<PemSource>,
    /// Name to ask for and to verify instead of the host's.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Oldest version accepted; 1.2 unless given.
    pub min_version: Option<TlsVersion>,
    /// Newest version accepted.
    pub max_version: Option<TlsVersion>,
}

/// `proxy_url` and its relatives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The proxy.
    pub url: Option<Url>,
    /// Hosts that are reached directly, comma-separated as in `NO_PROXY`.
    pub no_proxy: String,
    /// Take `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` from the environment.
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
