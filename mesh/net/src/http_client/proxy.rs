//! Chooses the proxy of a request as Go's `net/http` and `httpproxy` do.

mod bypass;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::HOST};
use mesh_model::config::http::ProxyConfig;
use url::Url;

use self::bypass::Bypass;
use super::credentials::UrlCredentials;

/// Proxies of a client, and the addresses that it reaches without them.
#[derive(Debug)]
pub(super) struct Proxies {
    /// Proxy of `http` requests.
    http: Option<Proxy>,
    /// Proxy of `https` requests.
    https: Option<Proxy>,
    /// Addresses to reach directly. `None` if every request uses the proxy, even one to a
    /// loopback address, as with a `proxy_url` without `no_proxy`.
    bypass: Option<Bypass>,
    /// Headers of CONNECT requests.
    pub(super) connect_header: HeaderMap,
}

/// A proxy server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) kind: ProxyKind,
    /// Scheme, host and port.
    pub(super) uri: Uri,
    pub(super) credentials: Option<UrlCredentials>,
}

/// Protocol that a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyKind {
    /// HTTP, over TCP or TLS.
    Http,
    /// SOCKS version 5. The proxy resolves the names.
    Socks5,
}

// === impl Proxies ===

impl Proxies {
    /// Returns the proxies of a client, or `None` if it uses none.
    pub(super) fn new(config: &ProxyConfig) -> Option<Self> {
        if config.from_environment {
            return Some(Self::from_variables(config, |name| {
                std::env::var(name).ok()
            }));
        }
        let proxy = config.url.as_ref().and_then(Proxy::new)?;
        Some(Self {
            http: Some(proxy.clone()),
            https: Some(proxy),
            bypass: (!config.no_proxy.is_empty()).then(|| Bypass::parse(&config.no_proxy)),
            connect_header: connect_header(config),
        })
    }

    fn from_variables(config: &ProxyConfig, value: impl Fn(&str) -> Option<String>) -> Self {
        let any_case = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            let mut values = names.iter().filter_map(|name| value(name));
            values.find(|value| !value.is_empty())
        };
        let proxy = |name| any_case(name).and_then(|value| Proxy::lenient(&value));
        Self {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            bypass: Some(Bypass::parse(&any_case("NO_PROXY").unwrap_or_default())),
            connect_header: connect_header(config),
        }
    }

    /// Returns the proxy of a request, or `None` if it goes to the target directly.
    pub(super) fn of(&self, target: &Uri) -> Option<&Proxy> {
        let (proxy, default_port) = match target.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            _ => (self.http.as_ref()?, 80),
        };
        let host = target.host()?.trim_matches(['[', ']']);
        let port = target.port_u16().unwrap_or(default_port);
        let bypasses = |bypass: &Bypass| bypass.matches(host, port);
        (!self.bypass.as_ref().is_some_and(bypasses)).then_some(proxy)
    }

    /// Returns the `Proxy-Authorization` header of a request that a proxy forwards. A request
    /// in a tunnel has none: the CONNECT request has it.
    pub(super) fn authorization(&self, target: &Uri) -> Option<HeaderValue> {
        let proxy = self.of(target)?;
        let forwards = proxy.kind == ProxyKind::Http && target.scheme_str() != Some("https");
        let credentials = proxy.credentials.as_ref().filter(|_| forwards)?;
        Some(credentials.basic())
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

// === impl Proxy ===

impl Proxy {
    /// Returns the proxy at this URL, or `None` if promesh does not know its scheme.
    fn new(url: &Url) -> Option<Self> {
        let (kind, default_port) = match url.scheme() {
            "http" => (ProxyKind::Http, 80),
            "https" => (ProxyKind::Http, 443),
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            _ => return None,
        };
        let port = url.port().unwrap_or(default_port);
        let uri = format!("{}://{}:{port}", url.scheme(), url.host_str()?);
        Some(Self {
            kind,
            uri: uri.parse().ok()?,
            credentials: UrlCredentials::of_url(url),
        })
    }

    /// Returns the proxy of an environment variable, where the scheme may be missing.
    fn lenient(value: &str) -> Option<Self> {
        let url = value.parse::<Url>().ok().filter(Url::has_host);
        let url = url.or_else(|| format!("http://{value}").parse().ok())?;
        Self::new(&url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, no_proxy: &str) -> ProxyConfig {
        ProxyConfig {
            url: Some(url.parse().unwrap()),
            no_proxy: no_proxy.to_owned(),
            ..ProxyConfig::default()
        }
    }

    fn proxy(proxies: &Proxies, target: &str) -> Option<String> {
        let proxy = proxies.of(&target.parse().unwrap())?;
        Some(proxy.uri.to_string())
    }

    #[test]
    fn a_proxy_url_alone_applies_to_every_address() {
        for (url, uri) in [
            ("http://p", "http://p:80/"),
            ("https://u:w@p", "https://p:443/"),
            ("socks5://[::1]", "socks5://[::1]:1080/"),
            ("socks5h://p:9", "socks5h://p:9/"),
        ] {
            let proxies = Proxies::new(&config(url, "")).unwrap();
            assert_eq!(proxy(&proxies, "http://127.0.0.1/").as_deref(), Some(uri));
        }
        let proxies = Proxies::new(&config("http://p", "a")).unwrap();
        assert_eq!(proxy(&proxies, "http://127.0.0.1/"), None);
        assert_eq!(proxy(&proxies, "http://a:1/"), None);
        assert!(proxy(&proxies, "https://b/").is_some());
    }

    #[test]
    fn reads_the_environment_as_go_does() {
        let variables = |pairs: &'static [(&str, &str)]| {
            Proxies::from_variables(&ProxyConfig::default(), |name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let both = variables(&[
            ("HTTP_PROXY", "plain:3128"),
            ("https_proxy", "https://secure"),
            ("no_proxy", "direct.test:81"),
        ]);
        let of = |target| proxy(&both, target);
        assert_eq!(of("http://h/").as_deref(), Some("http://plain:3128/"));
        assert_eq!(of("https://h/").as_deref(), Some("https://secure:443/"));
        assert_eq!(of("http://localhost/"), None);
        assert_eq!(of("http://direct.test:81/"), None);
        assert!(of("http://direct.test/").is_some());
        let neither = variables(&[("ALL_PROXY", "http://p"), ("HTTP_PROXY", "")]);
        assert_eq!(proxy(&neither, "http://h/"), None);
    }

    #[test]
    fn authorizes_forwarded_requests_only() {
        let authorization = |url, target: &str| {
            let proxies = Proxies::new(&config(url, "")).unwrap();
            proxies.authorization(&target.parse().unwrap())
        };
        let value = authorization("http://u:p%40@p", "http://h/").unwrap();
        assert_eq!(value, "Basic dTpwQA==");
        assert_eq!(authorization("http://u:p@p", "https://h/"), None);
        assert_eq!(authorization("socks5://u:p@p", "http://h/"), None);
        assert_eq!(authorization("http://p", "http://h/"), None);
    }
}
