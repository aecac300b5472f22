//! Follows redirects as Go's client does.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, REFERER,
        WWW_AUTHENTICATE,
    },
};
use percent_encoding::{AsciiSet, percent_encode};
use url::Url;

use super::{HttpClientError, credentials::UrlCredentials};

/// Maximum number of redirects that are followed.
const MAX_HOPS: usize = 9;

/// Request extension that marks a redirect to a host that is neither the first host nor below
/// it. Such a request, and all that follow, must not carry credentials or configured headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftOrigin;

/// Request extension that marks a request whose method must not change. Redirects that would
/// turn it into a GET are not followed; the caller gets the redirect as the response.
#[derive(Clone, Copy, Debug)]
pub struct KeepsMethod;

/// Follows the redirects of one request.
#[derive(Debug)]
pub(super) struct Redirects {
    /// Host of the first URL.
    origin: String,
    /// Number of redirects followed so far.
    hops: usize,
}

// === impl Redirects ===

impl Redirects {
    /// Starts at the URL of the first request.
    pub(super) fn new(first: &Uri) -> Self {
        Self {
            origin: host(first),
            hops: 0,
        }
    }

    /// Returns the request that follows a redirect, or `None` if the response is not one.
    ///
    /// # Errors
    /// Returns an error if the target is not a URL, or after too many redirects.
    pub(super) fn follow<B>(
        &mut self,
        request: Request<Bytes>,
        response: &Response<B>,
    ) -> Result<Option<Request<Bytes>>, HttpClientError> {
        let keeps_method = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        if !keeps_method && request.extensions().get::<KeepsMethod>().is_some() {
            return Ok(None);
        }
        let location = response.headers().get(LOCATION);
        let Some(location) = location.filter(|location| !location.is_empty()) else {
            return Ok(None);
        };
        if self.hops == MAX_HOPS {
            let hops = self.hops + 1;
            let text = format!("stopped after {hops} redirects");
            return Err(HttpClientError::Redirect(text));
        }
        self.hops += 1;
        let target = resolve(request.uri(), location)?;
        let (mut parts, mut body) = request.into_parts();
        if !keeps_method && parts.method != Method::GET && parts.method != Method::HEAD {
            parts.method = Method::GET;
            body = Bytes::new();
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                parts.headers.remove(name);
            }
        }
        if !is_at_or_below(&host(&target), &self.origin) {
            parts.extensions.insert(LeftOrigin);
        }
        if parts.extensions.get::<LeftOrigin>().is_some() {
            remove_credentials(&mut parts.headers);
        }
        set_referer(&mut parts.headers, &parts.uri, &target);
        parts.uri = target;
        Ok(Some(Request::from_parts(parts, body)))
    }
}

fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_ascii_lowercase()
}

/// Returns true if a host is `parent` or a subdomain of it.
fn is_at_or_below(host: &str, parent: &str) -> bool {
    let rest = host.strip_suffix(parent);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.') && !host.contains(':'))
}

fn remove_credentials(headers: &mut HeaderMap) {
    let mut names = vec![AUTHORIZATION, COOKIE, WWW_AUTHENTICATE];
    names.extend(
        ["cookie2", "proxy-authorization", "proxy-authenticate"].map(HeaderName::from_static),
    );
    for name in names {
        headers.remove(name);
    }
}

/// Names the URL that redirected, unless the redirect leaves TLS.
fn set_referer(headers: &mut HeaderMap, from: &Uri, to: &Uri) {
    headers.remove(REFERER);
    let leaves_tls = from.scheme_str() == Some("https") && to.scheme_str() == Some("http");
    let mut from = from.clone();
    UrlCredentials::take(&mut from);
    if let Ok(referer) = HeaderValue::try_from(from.to_string())
        && !leaves_tls
    {
        headers.insert(REFERER, referer);
    }
}

/// Characters to escape in a `Location`: only those beyond ASCII, which are always escaped.
const BEYOND_ASCII: &AsciiSet = &AsciiSet::EMPTY;

fn resolve(from: &Uri, location: &HeaderValue) -> Result<Uri, HttpClientError> {
    let location = percent_encode(location.as_bytes(), BEYOND_ASCII).to_string();
    let bad = |why: String| HttpClientError::Redirect(format!("to {location:?}: {why}"));
    let base: Url = from
        .to_string()
        .parse()
        .map_err(|e: url::ParseError| bad(e.to_string()))?;
    let target = base
        .join(&location)
        .map_err(|error| bad(error.to_string()))?;
    target
        .as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(location: &[u8]) -> Response<()> {
        let response = Response::builder().status(StatusCode::FOUND);
        response.header(LOCATION, location).body(()).unwrap()
    }

    /// Follows redirects from `first` to these locations. Returns the last request.
    fn follow(first: &str, locations: &[&str]) -> Request<Bytes> {
        let request = Request::get(first).header(AUTHORIZATION, "a");
        let request = request.header(COOKIE, "c").header("x-other", "o");
        let mut request = request.body(Bytes::new()).unwrap();
        let mut redirects = Redirects::new(request.uri());
        for location in locations {
            let response = to(location.as_bytes());
            request = redirects.follow(request, &response).unwrap().unwrap();
        }
        request
    }

    #[test]
    fn keeps_credentials_at_the_first_host_and_below() {
        let keeps = |first: &str, locations: &[&str], expected: bool| {
            let last = follow(first, locations);
            let headers = last.headers();
            assert_eq!(
                headers.contains_key(AUTHORIZATION),
                expected,
                "{locations:?}"
            );
            assert_eq!(headers.contains_key(COOKIE), expected, "{locations:?}");
            assert!(headers.contains_key("x-other"));
            let left = last.extensions().get::<LeftOrigin>().is_some();
            assert_eq!(left, !expected, "{locations:?}");
        };
        keeps(
            "http://h.test/",
            &["/x", "//h.test:81/", "https://H.test/"],
            true,
        );
        keeps("http://h.test/", &["http://a.b.h.test/"], true);
        keeps("http://a.h.test/", &["http://h.test/"], false);
        keeps("http://h.test/", &["http://bad-h.test/"], false);
        keeps(
            "http://h.test/",
            &["http://other.test/", "http://h.test/"],
            false,
        );
        keeps("http://[::1]:1/", &["http://[::1]:2/"], true);
        keeps("http://[::1]/", &["http://[::2]/"], false);
    }

    #[test]
    fn keeps_the_method_of_a_marked_request() {
        for (status, is_followed) in [
            (301, false),
            (302, false),
            (303, false),
            (307, true),
            (308, true),
        ] {
            let mut request = Request::post("http://a/write")
                .body(Bytes::from("x"))
                .unwrap();
            request.extensions_mut().insert(KeepsMethod);
            let mut response = to(b"/other");
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let followed = Redirects::new(request.uri())
                .follow(request, &response)
                .unwrap();
            assert_eq!(followed.is_some(), is_followed, "{status}");
            if let Some(followed) = followed {
                assert_eq!(
                    (followed.method(), followed.body().len()),
                    (&Method::POST, 1)
                );
            }
        }
    }

    #[test]
    fn follows_nine_redirects() {
        follow("http://h/", &["/x"; 9]);
        let request = Request::get("http://h/").body(Bytes::new()).unwrap();
        let mut redirects = Redirects {
            origin: "h".to_owned(),
            hops: 9,
        };
        let error = redirects.follow(request, &to(b"/x")).unwrap_err();
        assert_eq!(error.to_string(), "redirect: stopped after 10 redirects");
    }

    #[test]
    fn reads_a_location_in_utf_8_and_in_latin_1() {
        let path = |location: &[u8]| {
            let from = Uri::from_static("http://u:p@h/a/b");
            let location = HeaderValue::from_bytes(location).unwrap();
            resolve(&from, &location).unwrap().to_string()
        };
        assert_eq!(path("é?ü".as_bytes()), "http://u:p@h/a/%C3%A9?%C3%BC");
        assert_eq!(path(b"/\xe9"), "http://u:p@h/%E9");
        let host = path("http://bücher.example/".as_bytes());
        assert_eq!(host, "http://xn--bcher-kva.example/");
    }

    #[test]
    fn names_the_url_that_redirected() {
        let referer = |first, location: &str| {
            let last = follow(first, &[location]);
            let value = last.headers().get(REFERER);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let from = referer("http://u:p@h/a", "/b");
        assert_eq!(from.as_deref(), Some("http://h/a"));
        assert_eq!(referer("https://h/a", "http://h/b"), None);
    }

    #[test]
    fn ignores_an_empty_location() {
        let request = Request::get("http://h/").body(Bytes::new()).unwrap();
        let mut redirects = Redirects::new(request.uri());
        assert!(redirects.follow(request, &to(b"")).unwrap().is_none());
    }
}
