//! The proxy keys of the HTTP client settings.

use std::collections::BTreeMap;

use url::Url;

use crate::{
    config::{Secret, http::ProxyConfig, redacted},
    config_file::{scalar::Text, section::Problem},
};

/// The proxy keys.
#[derive(Debug, Default)]
pub(in crate::config_file) struct Proxy {
    pub(in crate::config_file) proxy_url: Option<String>,
    pub(in crate::config_file) no_proxy: Option<String>,
    pub(in crate::config_file) proxy_from_environment: Option<bool>,
    pub(in crate::config_file) proxy_connect_header: Option<BTreeMap<String, Vec<Text<Secret>>>>,
}

/// Schemes of the proxies that the HTTP client can use.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

// === impl Proxy ===

impl Proxy {
    pub(super) fn build(self) -> Result<ProxyConfig, Problem> {
        let url = self.proxy_url.filter(|url| !url.is_empty());
        let url = url
            .map(|url| {
                let parsed = url.parse::<Url>();
                let parsed = parsed.map_err(|e| Problem::new(format!("proxy_url {url:?}: {e}")))?;
                check_scheme(parsed)
            })
            .transpose()?;
        let no_proxy = self.no_proxy.unwrap_or_default();
        let from_environment = self.proxy_from_environment.unwrap_or(false);
        if from_environment && url.is_some() {
            return Err(Problem::new(
                "if proxy_from_environment is configured, proxy_url must not be configured",
            ));
        }
        if from_environment && !no_proxy.is_empty() {
            return Err(Problem::new(
                "if proxy_from_environment is configured, no_proxy must not be configured",
            ));
        }
        if url.is_none() && !no_proxy.is_empty() {
            return Err(Problem::new(
                "if no_proxy is configured, proxy_url must also be configured",
            ));
        }
        let headers = self.proxy_connect_header.unwrap_or_default();
        if !headers.is_empty() && url.is_none() && !from_environment {
            return Err(Problem::new(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            ));
        }
        Ok(ProxyConfig {
            url,
            no_proxy,
            from_environment,
            connect_header: headers
                .into_iter()
                .map(|(name, values)| (name, values.into_iter().map(|v| v.0).collect()))
                .collect(),
        })
    }
}

fn check_scheme(url: Url) -> Result<Url, Problem> {
    if SCHEMES.contains(&url.scheme()) && url.has_host() {
        return Ok(url);
    }
    let shown = redacted(&url);
    Err(Problem::new(format!(
        "proxy_url \"{shown}\": expected a URL such as http://proxy:3128, with the scheme http, https, socks5 or socks5h"
    )))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn refuses_a_proxy_that_the_client_cannot_use() {
        let parse = |url: &str| {
            let text = format!("scrape_configs: [{{job_name: a, proxy_url: '{url}'}}]\n");
            Config::parse(&text, Path::new("p.yml"), &|_| None).map_err(|error| error.to_string())
        };
        for url in [
            "http://p",
            "https://u:p@p:1",
            "socks5://p",
            "socks5h://p:1080",
        ] {
            assert!(parse(url).is_ok(), "{url}");
        }
        let error = parse("ftp://u:secret@p").unwrap_err();
        assert!(
            error.contains("proxy_url \"ftp://u:xxxxx@p/\": expected"),
            "{error}"
        );
        assert!(parse("proxy:3128").is_err());
    }
}
