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
use mesh::aws::sign::CanonicalError;
pub use mesh::aws::sign::{Scope, sign_at};
use url::Url;

use self::credentials::CredentialsCache;

pub mod credentials;

/// Signs requests to one destination.
#[derive(Debug)]
pub struct Signer {
    scope: Scope,
    credentials: Arc<CredentialsCache>,
    /// How far the backend's clock is ahead of ours, in milliseconds.
    skew_ms: AtomicI64,
}

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There are no credentials.
    #[error("no credentials: {0}")]
    NoCredentials(String),
    /// The request cannot be expressed canonically.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

/// A clock that is wrong by less than this makes no signature invalid: AWS
/// allows five minutes.
const TOLERATED_SKEW: Duration = Duration::from_secs(60);

// === impl Signer ===

impl Signer {
    /// A signer with these credentials.
    pub fn new(scope: Scope, credentials: Arc<CredentialsCache>) -> Self {
        Self {
            scope,
            credentials,
            skew_ms: AtomicI64::new(0),
        }
    }

    /// Signs a request as of now by the backend's clock, and says with which access
    /// key.
    ///
    /// # Errors
    /// Where there are no credentials.
    pub fn sign(&self, request: &mut Request<Bytes>) -> Result<String, SignError> {
        let credentials = self.credentials.current();
        let credentials = credentials.map_err(SignError::NoCredentials)?;
        let skew = Duration::from_millis(self.skew_ms.load(Ordering::Relaxed).unsigned_abs());
        let now = SystemTime::now();
        let time = match self.skew_ms.load(Ordering::Relaxed) < 0 {
            true => now - skew,
            false => now + skew,
        };
        sign_at(request, &self.scope, &credentials, time)?;
        Ok(credentials.access_key_id().to_owned())
    }

    /// The backend refused a signature by this access key: fetches new credentials
    /// and corrects the clock by the backend's `Date`, should one of them have been
    /// the reason. Says whether a new signature would be another one.
    pub async fn refused(&self, key: &str, date: Option<SystemTime>) -> bool {
        let corrected = date.is_some_and(|date| self.correct(date));
        self.credentials.refresh(key).await;
        let current = self.credentials.current();
        corrected || current.is_ok_and(|current| current.access_key_id() != key)
    }

    /// Sets the clock by the backend's; false where it was right already.
    fn correct(&self, date: SystemTime) -> bool {
        let Some(skew_ms) = skew_ms(date, SystemTime::now()) else {
            return false;
        };
        let before = self.skew_ms.swap(skew_ms, Ordering::Relaxed);
        let corrected = before.abs_diff(skew_ms) > TOLERATED_SKEW.as_millis() as u64;
        if corrected {
            tracing::warn!(skew_ms, "Clock corrected by the backend's");
        }
        corrected
    }
}

/// How far the backend's clock is ahead of ours, where that matters.
fn skew_ms(theirs: SystemTime, ours: SystemTime) -> Option<i64> {
    let (ahead, magnitude) = match theirs.duration_since(ours) {
        Ok(ahead) => (true, ahead),
        Err(behind) => (false, behind.duration()),
    };
    let millis = i64::try_from(magnitude.as_millis()).ok()?;
    match magnitude > TOLERATED_SKEW {
        true if ahead => Some(millis),
        true => Some(-millis),
        false => Some(0),
    }
}

/// What AMP's endpoints are called.
const AMP_NAMES: [&str; 4] = ["aps-workspaces", "aps-workspaces-fips", "aps", "aps-fips"];
/// The domains they are in: of IPv4, of both (dual-stack), and of China's regions.
const AMP_DOMAINS: [&str; 4] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "api.aws",
    "api.amazonwebservices.com.cn",
];

/// The region in the name of an AMP endpoint, with or without FIPS, in any domain,
/// and of a VPC endpoint: `aps-workspaces.us-east-1.amazonaws.com`,
/// `aps-workspaces-fips.us-east-1.api.aws`,
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

    /// 2026-11-23T12:34:56Z.
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

    /// The signatures were computed with botocore 1.44.5.
    #[test]
    fn signatures_are_botocore_s() {
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
    fn everything_that_is_signed_is_named() {
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
    fn regions_are_read_from_amp_s_names_only() {
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
    fn only_a_clock_that_matters_is_corrected() {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        assert_eq!(skew_ms(at(1000), at(1030)), Some(0));
        assert_eq!(skew_ms(at(1000), at(400)), Some(600_000));
        assert_eq!(skew_ms(at(400), at(1000)), Some(-600_000));
    }
}
