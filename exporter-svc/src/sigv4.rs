//! Signs outgoing requests with AWS Signature Version 4.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::Request;
use mesh_net::aws::sign::CanonicalError;
pub use mesh_net::aws::sign::{Scope, sign_at};
use url::Url;

use self::credentials::CredentialsCache;

pub mod credentials;

/// Signs requests to one destination.
#[derive(Debug)]
pub struct Signer {
    scope: Scope,
    credentials: Arc<CredentialsCache>,
    /// Difference between the backend's clock and the local one in milliseconds;
    /// positive if the backend is ahead.
    skew_ms: AtomicI64,
}

/// Error of a request that could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The provider has returned no credentials yet.
    #[error("no credentials: {0}")]
    NoCredentials(String),
    /// The request has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

/// Clock difference that needs no correction; AWS accepts five minutes.
const TOLERATED_SKEW: Duration = Duration::from_secs(60);

// === impl Signer ===

impl Signer {
    /// Creates a signer for a scope with these credentials.
    pub fn new(scope: Scope, credentials: Arc<CredentialsCache>) -> Self {
        Self {
            scope,
            credentials,
            skew_ms: AtomicI64::new(0),
        }
    }

    /// Signs a request with the backend's current time and returns the access key ID
    /// that was used.
    ///
    /// # Errors
    /// Returns an error if there are no credentials or the request has no canonical
    /// form.
    pub fn sign(&self, request: &mut Request<Bytes>) -> Result<String, SignError> {
        let credentials = self.credentials.current();
        let credentials = credentials.map_err(SignError::NoCredentials)?;
        let skew = Duration::from_millis(self.skew_ms.load(Ordering::Relaxed).unsigned_abs());
        let now = SystemTime::now();
        let time = if self.skew_ms.load(Ordering::Relaxed) < 0 {
            now - skew
        } else {
            now + skew
        };
        sign_at(request, &self.scope, &credentials, time)?;
        Ok(credentials.access_key_id().to_owned())
    }

    /// Handles a signature that the backend rejected. Refreshes the credentials and
    /// corrects the clock by the backend's `Date`. Returns true if a new signature
    /// would differ.
    pub async fn handle_rejection(&self, key: &str, date: Option<SystemTime>) -> bool {
        let corrected = date.is_some_and(|date| self.correct_clock(date));
        self.credentials.refresh(key).await;
        let current = self.credentials.current();
        corrected || current.is_ok_and(|current| current.access_key_id() != key)
    }

    /// Adopts the backend's time. Returns false if the clocks agreed already.
    fn correct_clock(&self, date: SystemTime) -> bool {
        let Some(skew_ms) = skew_ms(date, SystemTime::now()) else {
            return false;
        };
        let before = self.skew_ms.swap(skew_ms, Ordering::Relaxed);
        let corrected = before.abs_diff(skew_ms) > TOLERATED_SKEW.as_millis() as u64;
        if corrected {
            tracing::warn!(skew_ms, "Clock corrected by the Date of the backend");
        }
        corrected
    }
}

/// Difference between two clocks in milliseconds; zero if it is tolerable.
fn skew_ms(theirs: SystemTime, ours: SystemTime) -> Option<i64> {
    let (ahead, magnitude) = match theirs.duration_since(ours) {
        Ok(ahead) => (true, ahead),
        Err(behind) => (false, behind.duration()),
    };
    let millis = i64::try_from(magnitude.as_millis()).ok()?;
    if magnitude <= TOLERATED_SKEW {
        return Some(0);
    }
    Some(if ahead { millis } else { -millis })
}

/// Host name prefixes of AMP endpoints.
const AMP_NAMES: [&str; 4] = ["aps-workspaces", "aps-workspaces-fips", "aps", "aps-fips"];
/// Domains of AMP endpoints: IPv4 and dual-stack, each with its variant in China.
const AMP_DOMAINS: [&str; 4] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "api.aws",
    "api.amazonwebservices.com.cn",
];

/// Region in the host name of an AMP endpoint or VPC endpoint, with or without FIPS:
/// `aps-workspaces.us-east-1.amazonaws.com`, `aps-workspaces-fips.us-east-1.api.aws`,
/// `vpce-1.aps-workspaces.us-east-1.vpce.amazonaws.com`.
pub fn region_of(url: &Url) -> Option<&str> {
    let host = url.host_str()?;
    let (name, rest) = match host.strip_prefix("vpce-") {
        Some(endpoint) => endpoint.split_once('.')?.1.split_once('.')?,
        None => host.split_once('.')?,
    };
    let (region, domain) = rest.split_once('.')?;
    let domain = domain.strip_prefix("vpce.").unwrap_or(domain);
    (AMP_NAMES.contains(&name) && AMP_DOMAINS.contains(&domain)).then_some(region)
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use http::{HeaderName, HeaderValue, Method};

    use super::*;

    /// Signing time of the tests: 2026-11-23T12:34:56Z.
    const TIME: u64 = 1_795_437_296;

    fn signed(
        url: &str,
        (region, service): (&str, &str),
        token: Option<&str>,
        extra: Option<(&'static str, &'static str)>,
        body: &'static [u8],
    ) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from_static(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.parse().unwrap();
        let headers = [
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("user-agent", "not signed, as proxies change it"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        for (name, value) in headers.into_iter().chain(extra) {
            let name = HeaderName::from_static(name);
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        let key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let token = token.map(str::to_owned);
        let credentials = Credentials::new("AKIDEXAMPLE", key, token, None, "test");
        let scope = Scope {
            region: region.to_owned(),
            service: service.to_owned(),
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIME);
        sign_at(&mut request, &scope, &credentials, time).unwrap();
        request
    }

    fn signature(request: &Request<Bytes>) -> &str {
        let authorization = request.headers()["authorization"].to_str().unwrap();
        authorization.split_once("Signature=").unwrap().1
    }

    const AMP: &str =
        "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

    /// Compares with signatures that botocore 1.44.5 made.
    #[test]
    fn signatures_match_botocore() {
        let aps = ("us-east-1", "aps");
        let plain = signed(AMP, aps, None, None, b"\x05\x10hello");
        assert_eq!(
            signature(&plain),
            "9048784e7b1e5a58f84c3b18eb6f65380bc87479fcfa6220b6feeb830aba5d07"
        );
        let with_token = signed(AMP, aps, Some("TOKEN"), None, b"\x05\x10hello");
        assert_eq!(
            signature(&with_token),
            "cbe870b35e8edf0f05c6ef9a77ba64f35d64ba6554b9c1bfc5d92211a1546973"
        );
        let query = signed(
            "https://example.com:8443/a%20path/x?b=2&a=1%2F3",
            ("eu-west-2", "execute-api"),
            None,
            Some(("x-extra", "  two  spaces ")),
            b"",
        );
        assert_eq!(
            signature(&query),
            "5cebc80f93456e2b91e1851760912ab9c42301c4606377b3ae965239233bab81"
        );
    }

    #[test]
    fn signed_headers_lists_every_signed_header() {
        let request = signed(AMP, ("us-east-1", "aps"), Some("TOKEN"), None, b"x");
        let authorization = request.headers()["authorization"].to_str().unwrap();
        let want = "AWS4-HMAC-SHA256 \
                    Credential=AKIDEXAMPLE/20261123/us-east-1/aps/aws4_request, \
                    SignedHeaders=content-encoding;content-type;host;x-amz-content-sha256;\
                    x-amz-date;x-amz-security-token;x-prometheus-remote-write-version, Signature=";
        assert!(authorization.starts_with(want), "{authorization}");
        assert_eq!(request.headers()["x-amz-date"], "20261123T123456Z");
    }

    #[test]
    fn parses_the_region_of_amp_hosts_only() {
        let region = |host: &str| {
            let url: Url = format!("https://{host}/workspaces/ws-1").parse().unwrap();
            region_of(&url).map(str::to_owned)
        };
        assert_eq!(
            region("aps-workspaces.eu-west-1.amazonaws.com").as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(
            region("aps-workspaces-fips.us-east-2.api.aws").as_deref(),
            Some("us-east-2")
        );
        assert_eq!(
            region("aps-workspaces.cn-north-1.amazonaws.com.cn").as_deref(),
            Some("cn-north-1")
        );
        assert_eq!(
            region("vpce-1.aps-workspaces.eu-west-1.vpce.amazonaws.com").as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(
            region("aps-fips.us-gov-west-1.amazonaws.com").as_deref(),
            Some("us-gov-west-1")
        );
        assert_eq!(
            region("aps-workspaces.cn-northwest-1.api.amazonwebservices.com.cn").as_deref(),
            Some("cn-northwest-1")
        );
        assert_eq!(region("s3.eu-west-1.amazonaws.com"), None);
        assert_eq!(region("aps-workspaces.eu-west-1.example.com"), None);
        assert_eq!(region("127.0.0.1"), None);
    }

    #[test]
    fn tolerates_a_small_clock_skew() {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        assert_eq!(skew_ms(at(1000), at(1030)), Some(0));
        assert_eq!(skew_ms(at(1000), at(400)), Some(600_000));
        assert_eq!(skew_ms(at(400), at(1000)), Some(-600_000));
    }
}
