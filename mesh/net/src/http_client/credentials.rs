//! Credentials in URLs: `https://user:password@host/`.

use std::{borrow::Cow, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri, uri::Authority};
use percent_encoding::percent_decode_str;
use url::Url;

/// User name and password of a URL, which mean HTTP Basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct UrlCredentials {
    username: Vec<u8>,
    password: Vec<u8>,
}

// === impl UrlCredentials ===

impl UrlCredentials {
    /// Returns the credentials of a URL, or `None` if it has none.
    pub(super) fn of_url(url: &Url) -> Option<Self> {
        let (username, password) = (url.username(), url.password());
        let present = !username.is_empty() || password.is_some();
        present.then(|| Self::decode(username, password.unwrap_or_default()))
    }

    /// Removes the credentials from a request's URI and returns them, if any.
    pub(super) fn take(uri: &mut Uri) -> Option<Self> {
        let authority = uri.authority()?.as_str();
        let (userinfo, host) = authority.rsplit_once('@')?;
        let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let credentials = Self::decode(username, password);
        let host: Authority = host.parse().ok()?;
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(host);
        *uri = Uri::from_parts(parts).ok()?;
        Some(credentials)
    }

    fn decode(username: &str, password: &str) -> Self {
        let decode = |text| Cow::from(percent_decode_str(text)).into_owned();
        Self {
            username: decode(username),
            password: decode(password),
        }
    }

    /// Returns the value of the header for HTTP Basic.
    pub(super) fn basic(&self) -> HeaderValue {
        basic(&self.username, &self.password)
    }

    /// Returns the user name and the password as text.
    pub(super) fn text(&self) -> (String, String) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.username), text(&self.password))
    }
}

impl fmt::Debug for UrlCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Returns the value of the `Authorization` header for HTTP Basic.
pub(super) fn basic(username: &[u8], password: &[u8]) -> HeaderValue {
    let pair = [username, b":", password].concat();
    let text = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let mut value = HeaderValue::from_str(&text).expect("base64 is valid in a header");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_credentials_from_a_uri() {
        for (uri, expected, rest) in [
            (
                "http://u:p%40%3A@h:1/a?b",
                Some(("u", "p@:")),
                "http://h:1/a?b",
            ),
            ("http://u@[::1]/", Some(("u", "")), "http://[::1]/"),
            ("http://:p@h/", Some(("", "p")), "http://h/"),
            ("http://h/@", None, "http://h/@"),
        ] {
            let mut taken: Uri = uri.parse().unwrap();
            let credentials = UrlCredentials::take(&mut taken).map(|found| found.text());
            let expected = expected.map(|(u, p)| (u.to_owned(), p.to_owned()));
            assert_eq!((credentials, taken.to_string().as_str()), (expected, rest));
        }
    }

    #[test]
    fn hides_the_secrets() {
        let url = "http://user:word@h".parse().unwrap();
        let credentials = UrlCredentials::of_url(&url).unwrap();
        assert_eq!(format!("{credentials:?}"), "<secret>");
        assert_eq!(credentials.basic(), "Basic dXNlcjp3b3Jk");
    }
}
