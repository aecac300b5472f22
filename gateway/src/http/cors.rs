//! CORS: lets web pages push from a browser (Fetch standard, "CORS protocol").

use std::{convert::Infallible, str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mesh_model::flags;

/// Flags for pushes from web pages.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Browsers")]
pub struct CorsArgs {
    /// Origins of the web pages that may push to OTLP/HTTP, such as
    /// `https://shop.example` or `https://*.shop.example`; * allows all, without
    /// credentials. Without this flag browsers block all of them.
    #[arg(
        long = "cors.allowed-origins",
        env = "PROMESH_CORS_ALLOWED_ORIGINS",
        value_delimiter = ','
    )]
    pub allowed_origins: Vec<Origin>,

    /// Headers that these web pages may send.
    #[arg(
        long = "cors.allowed-headers",
        env = "PROMESH_CORS_ALLOWED_HEADERS",
        value_delimiter = ',',
        default_value = "content-type,content-encoding,authorization"
    )]
    pub allowed_headers: Vec<HeaderName>,

    /// Time for which a browser may cache the permission.
    #[arg(
        long = "cors.max-age",
        env = "PROMESH_CORS_MAX_AGE",
        value_name = "DURATION",
        value_parser = flags::seconds,
        default_value = "2h"
    )]
    pub preflight_max_age: Duration,
}

/// Pattern of allowed origins. A `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

// === impl CorsArgs ===

impl CorsArgs {
    /// Adds the response headers that let the web page read the response and send
    /// credentials. `navigator.sendBeacon` always sends them.
    ///
    /// If every origin is allowed, the response says so with `*`. Browsers then send no
    /// credentials, so that a foreign page cannot push with a user's certificate.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origin) = self.allowed(request) else {
            return;
        };
        let origin = match self.allowed_origins.iter().any(Origin::is_any) {
            true => HeaderValue::from_static("*"),
            false => origin.clone(),
        };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let credentials = HeaderValue::from_static("true");
        response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials);
        response.insert(header::VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static("retry-after");
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// Adds the headers of a preflight response. Returns false if the origin is not allowed.
    pub(super) fn preflight(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        if self.allowed(request).is_none() {
            return false;
        }
        let methods = HeaderValue::from_static("POST");
        response.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let headers: Vec<_> = self
            .allowed_headers
            .iter()
            .map(HeaderName::as_str)
            .collect();
        if let Ok(headers) = HeaderValue::from_str(&headers.join(", ")) {
            response.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        response.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            self.preflight_max_age.as_secs().into(),
        );
        true
    }

    /// Origin of the request, if its web pages may push.
    fn allowed<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let allowed = self.allowed_origins.iter().any(|o| o.matches(text));
        allowed.then_some(origin)
    }
}

// === impl Origin ===

impl Origin {
    fn is_any(&self) -> bool {
        self.0 == "*"
    }

    fn matches(&self, origin: &str) -> bool {
        match self.0.split_once('*') {
            None => self.0.eq_ignore_ascii_case(origin),
            Some((start, end)) => {
                let origin = origin.to_ascii_lowercase();
                origin.len() >= start.len() + end.len()
                    && origin.starts_with(&start.to_ascii_lowercase())
                    && origin.ends_with(&end.to_ascii_lowercase())
            }
        }
    }
}

impl FromStr for Origin {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &str) -> CorsArgs {
        CorsArgs {
            allowed_origins: origins.split(',').map(|o| o.parse().unwrap()).collect(),
            allowed_headers: vec![header::CONTENT_TYPE],
            preflight_max_age: Duration::from_secs(60),
        }
    }

    fn from(origin: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())])
    }

    #[test]
    fn matches_allowed_origins() {
        for (allowed, origin, expected) in [
            ("*", "https://anything.example", true),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "HTTPS://A.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.a.example", "https://b.a.example", true),
            ("https://*.a.example", "https://a.example", false),
            ("https://*.a.example", "https://b.a.example.evil", false),
            ("x,https://b", "https://b", true),
        ] {
            let found = cors(allowed).allowed(&from(origin)).is_some();
            assert_eq!(found, expected, "{allowed} {origin}");
        }
    }

    #[test]
    fn preflight_lists_what_an_allowed_origin_may_send() {
        let cors = cors("https://a.example");
        let mut response = HeaderMap::new();
        assert!(cors.preflight(&from("https://a.example"), &mut response));
        cors.allow(&from("https://a.example"), &mut response);
        let header_of = |name: HeaderName| response.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header_of(header::ACCESS_CONTROL_ALLOW_METHODS), "POST");
        assert_eq!(
            header_of(header::ACCESS_CONTROL_ALLOW_HEADERS),
            "content-type"
        );
        assert_eq!(header_of(header::ACCESS_CONTROL_MAX_AGE), "60");
        let origin = header_of(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(origin, "https://a.example");
        let credentials = header_of(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        assert_eq!(credentials, "true");
        let mut nothing = HeaderMap::new();
        assert!(!cors.preflight(&from("https://evil.example"), &mut nothing));
        cors.allow(&from("https://evil.example"), &mut nothing);
        assert!(nothing.is_empty());
    }

    #[test]
    fn names_no_origin_if_all_are_allowed() {
        let mut response = HeaderMap::new();
        cors("https://a.example,*").allow(&from("https://a.example"), &mut response);
        assert_eq!(response[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
