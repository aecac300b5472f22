//! Parses the URL of a target as Go does.

use http::{Uri, uri::InvalidUri};
use url::Host;

use super::url::is_host_byte;

/// Target URL that no request can be sent to.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Character that is not part of a host name, for example the start of a query.
    #[error("invalid character {0:?} in the address, expected HOST or HOST:PORT")]
    Character(char),
    /// Port with other characters than digits.
    #[error("invalid port {0:?} after host, expected digits")]
    Port(String),
    /// Port that TCP does not have.
    #[error("invalid port {0:?} after host, expected 0 to 65535")]
    PortRange(String),
    /// IPv6 address without its end.
    #[error("missing ']' after the IPv6 address")]
    Bracket,
    /// IPv6 address of one network interface.
    #[error("IPv6 zones are not supported, expected [ADDRESS] or [ADDRESS]:PORT")]
    Zone,
    /// Internationalized name that has no ASCII form.
    #[error("{0:?} is not an internationalized host name")]
    Name(String),
    /// URL that is invalid for another reason.
    #[error(transparent)]
    Uri(#[from] InvalidUri),
}

/// Parses the URL of a target, whose host is escaped. A host with characters beyond ASCII
/// becomes Punycode.
///
/// # Errors
/// Returns an error if the address is not a host with an optional port.
pub(in crate::scrape) fn parse(url: &str) -> Result<Uri, UrlError> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = split(authority)?;
    if port.bytes().skip(1).any(|byte| !byte.is_ascii_digit()) {
        return Err(UrlError::Port(unescape(port)));
    }
    if port.len() > 1 && port[1..].parse::<u16>().is_err() {
        return Err(UrlError::PortRange(port[1..].to_owned()));
    }
    let name = unescape(host);
    if name == host {
        return Ok(url.parse()?);
    }
    if let Some(bad) = name
        .chars()
        .find(|c| c.is_ascii() && !is_host_byte(*c as u8))
    {
        return Err(match bad {
            '%' if host.starts_with('[') => UrlError::Zone,
            _ => UrlError::Character(bad),
        });
    }
    match Host::parse(&name) {
        Ok(Host::Domain(ascii)) => Ok(format!("{scheme}://{ascii}{port}{path}").parse()?),
        _ => Err(UrlError::Name(name)),
    }
}

/// Splits an authority into the host and the port with its colon.
fn split(authority: &str) -> Result<(&str, &str), UrlError> {
    let at = if authority.starts_with('[') {
        authority.rfind(']').ok_or(UrlError::Bracket)? + 1
    } else {
        authority.rfind(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(at);
    if port.is_empty() || port.starts_with(':') {
        Ok((host, port))
    } else {
        Err(UrlError::Port(unescape(port)))
    }
}

/// Decodes what the URL escapes. Bytes that are not UTF-8 become U+FFFD.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = escaped.get(..2).map(|hex| u8::from_str_radix(hex, 16));
        match byte {
            Some(Ok(byte)) => {
                bytes.push(byte);
                rest = &escaped[2..];
            }
            _ => {
                bytes.push(b'%');
                rest = escaped;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_plain_addresses() {
        for url in [
            "http://h:1/metrics?a=b:c",
            "http://h/",
            "http://h:/m",
            "http://:9100/metrics",
            "http://a_b-c.d:080/metrics",
            "https://[::1]:9/metrics",
            "https://[::ffff:127.0.0.1]/metrics",
        ] {
            assert_eq!(parse(url).unwrap().to_string(), url);
        }
    }

    #[test]
    fn encodes_internationalized_names() {
        let uri = parse("http://%C3%BCn%C3%AFcode.example:9100/m?x=%C3%BC").unwrap();
        assert_eq!(
            uri.to_string(),
            "http://xn--ncode-cta3g.example:9100/m?x=%C3%BC"
        );
    }

    #[test]
    fn refuses_what_go_refuses() {
        for (url, expected) in [
            (
                "http://h:1%3Fx=y/m",
                "invalid port \":1?x=y\" after host, expected digits",
            ),
            (
                "http://h:1%23f/m",
                "invalid port \":1#f\" after host, expected digits",
            ),
            (
                "http://h:+1/m",
                "invalid port \":+1\" after host, expected digits",
            ),
            (
                "http://h:http/m",
                "invalid port \":http\" after host, expected digits",
            ),
            (
                "http://[::1]x/m",
                "invalid port \"x\" after host, expected digits",
            ),
            (
                "http://h:65536/m",
                "invalid port \"65536\" after host, expected 0 to 65535",
            ),
            ("http://[::1:80/m", "missing ']' after the IPv6 address"),
            (
                "http://[fe80::1%25eth0]:80/m",
                "IPv6 zones are not supported, expected [ADDRESS] or [ADDRESS]:PORT",
            ),
            (
                "http://u:p%40h:1/m",
                "invalid character '@' in the address, expected HOST or HOST:PORT",
            ),
            (
                "http://h%3Fx/m",
                "invalid character '?' in the address, expected HOST or HOST:PORT",
            ),
            (
                "http://a%20b/m",
                "invalid character ' ' in the address, expected HOST or HOST:PORT",
            ),
            (
                "http://h%25lo:1/m",
                "invalid character '%' in the address, expected HOST or HOST:PORT",
            ),
            // Full-width digits, which must not become an IPv4 address.
            (
                "http://%EF%BC%91.1/m",
                "\"１.1\" is not an internationalized host name",
            ),
        ] {
            assert_eq!(parse(url).unwrap_err().to_string(), expected, "{url}");
        }
    }
}
