//! CORS: which web pages may push from a browser (Fetch, "CORS protocol").

use std::{convert::Infallible, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Which web pages may push, as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Browsers")]
pub struct CorsArgs {
    /// Origins of the web pages that may push to OTLP/HTTP, such as
    /// `https://shop.example` or `https://*.shop.example`; * allows all. Without it a
    /// browser lets none.
    #[arg(
        long = "cors.allowed-origins",
        env = "PROMESH_CORS_ALLOWED_ORIGINS",
        value_delimiter = ','
    )]
    pub allowed_origins: Vec<Origin>,

    /// Headers that they may send.
    #[arg(
        long = "cors.allowed-headers",
        env = "PROMESH_CORS_ALLOWED_HEADERS",
        value_delimiter = ',',
        default_value = "content-type,content-encoding,authorization"
    )]
    pub allowed_headers: Vec<HeaderName>,

    /// Seconds for which a browser remembers that.
    #[arg(
        long = "cors.max-age",
        env = "PROMESH_CORS_MAX_AGE",
        default_value_t = 7200
    )]
    pub preflight_max_age_seconds: u32,
}

/// An origin, or several with a `*` for any text within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

// === impl CorsArgs ===

impl CorsArgs {
    /// Adds what lets a browser show an answer to the page that asked.
    pub(super) fn allow(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = self.allowed(request) else {
            return;
        };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::VARY, HeaderValue::from_static("origin"));
        let shown = HeaderValue::from_static("retry-after");
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, shown);
    }

    /// Adds what a browser wants to know before it pushes; false where it must not.
    pub(super) fn preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) -> bool {
        if self.allowed(request).is_none() {
            return false;
        }
        let methods = HeaderValue::from_static("POST");
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let headers: Vec<_> = self
            .allowed_headers
            .iter()
            .map(HeaderName::as_str)
            .collect();
        if let Ok(headers) = HeaderValue::from_str(&headers.join(", ")) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        answer.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            self.preflight_max_age_seconds.into(),
        );
        true
    }

    /// The request's origin, where its pages may push.
    fn allowed<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let allowed = self.allowed_origins.iter().any(|o| o.matches(text));
        allowed.then_some(origin)
    }
}

// === impl Origin ===

impl Origin {
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
            preflight_max_age_seconds: 60,
        }
    }

    fn from(origin: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())])
    }

    #[test]
    fn origins_are_matched() {
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
    fn a_browser_is_told_what_it_may() {
        let cors = cors("https://a.example");
        let mut answer = HeaderMap::new();
        assert!(cors.preflight(&from("https://a.example"), &mut answer));
        cors.allow(&from("https://a.example"), &mut answer);
        let told = |name: HeaderName| answer.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(told(header::ACCESS_CONTROL_ALLOW_METHODS), "POST");
        assert_eq!(told(header::ACCESS_CONTROL_ALLOW_HEADERS), "content-type");
        assert_eq!(told(header::ACCESS_CONTROL_MAX_AGE), "60");
        let origin = told(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(origin, "https://a.example");
        let mut nothing = HeaderMap::new();
        assert!(!cors.preflight(&from("https://evil.example"), &mut nothing));
        cors.allow(&from("https://evil.example"), &mut nothing);
        assert!(nothing.is_empty());
    }
}
