//! Refuses requests that a web page of another site makes through a browser.
//!
//! Browsers send `Origin` with every POST and say in `Sec-Fetch-Site` how it relates to the page;
//! other clients send neither. A page whose name has been pointed at the port (DNS rebinding) has
//! the same origin as the port, so an origin counts only if its host is an address or localhost.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header, uri::Authority};

/// Returns the reason to refuse a request that changes something, or `None` to accept it.
pub(crate) fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Some("a web page of another site sent this request (Sec-Fetch-Site)");
    }
    let origin = headers.get(header::ORIGIN)?;
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let origin = origin.to_str().ok().and_then(|it| it.parse::<Uri>().ok());
    let authority = origin.as_ref().and_then(Uri::authority);
    match authority {
        Some(authority) if Some(authority.as_str()) == host && is_address(authority) => None,
        Some(authority) if Some(authority.as_str()) == host => {
            Some("a web page may use this port by its IP address or as localhost only (Origin)")
        }
        _ => Some("a web page of another site sent this request (Origin)"),
    }
}

fn is_address(authority: &Authority) -> bool {
    let host = authority.host();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn refuses_requests_of_other_sites() {
        let refusal = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            refusal(&headers.collect())
        };
        for accepted in [
            &[("host", "receiver.promesh:8080")][..],
            &[
                ("host", "localhost:8080"),
                ("origin", "http://localhost:8080"),
            ],
            &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
            &[("host", "10.0.0.1:8080"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(refusal(accepted), None, "{accepted:?}");
        }
        for refused in [
            &[("host", "10.0.0.1:8080"), ("sec-fetch-site", "cross-site")][..],
            &[("host", "10.0.0.1:8080"), ("sec-fetch-site", "same-site")],
            &[("host", "10.0.0.1:8080"), ("origin", "http://evil.example")],
            &[
                ("host", "10.0.0.1:8080"),
                ("origin", "http://10.0.0.1:3000"),
            ],
            &[("host", "10.0.0.1:8080"), ("origin", "null")],
            &[("origin", "http://10.0.0.1:8080")],
            // DNS rebinding.
            &[
                ("host", "evil.example:8080"),
                ("origin", "http://evil.example:8080"),
                ("sec-fetch-site", "same-origin"),
            ],
        ] {
            assert!(refusal(refused).is_some(), "{refused:?}");
        }
    }
}
