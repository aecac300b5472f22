//! Signs outgoing requests with AWS Signature Version 4.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::Request;
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

/// What a signature is valid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The AWS region.
    pub region: String,
    /// The AWS service; `aps` for AMP.
    pub service: String,
}

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There are no credentials.
    #[error("no credentials: {0}")]
    NoCredentials(String),
    /// The request cannot be expressed canonically.
    #[error("signing: {0}")]
    Canonical(#[source] Box<dyn std::error::Error + Send + Sync>),
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

    /// Signs a request as of now by the backend's clock.
    ///
    /// # Errors
    /// Where there are no credentials.
    pub fn sign(&self, request: &mut Request<Bytes>) -> Result<(), SignError> {
        let credentials = self.credentials.current();
        let credentials = credentials.map_err(SignError::NoCredentials)?;
        let skew = Duration::from_millis(self.skew_ms.load(Ordering::Relaxed).unsigned_abs());
        let now = SystemTime::now();
        let time = match self.skew_ms.load(Ordering::Relaxed) < 0 {
            true => now - skew,
            false => now + skew,
        };
        sign_at(request, &self.scope, &credentials, time)
    }

    /// The backend refused a signature: fetches new credentials and corrects the
    /// clock by the backend's `Date`, should one of them have been the reason.
    pub async fn refused(&self, date: Option<SystemTime>) {
        if let Some(skew_ms) = date.and_then(|date| skew_ms(date, SystemTime::now())) {
            if skew_ms != 0 {
                tracing::warn!(skew_ms, "The clock differs from the backend's");
            }
            self.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
        self.credentials.refresh().await;
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

/// Signs a request as of `time`.
///
/// # Errors
/// Where the request cannot be expressed canonically.
pub fn sign_at(
    request: &mut Request<Bytes>,
    scope: &Scope,
    credentials: &Credentials,
    time: SystemTime,
) -> Result<(), SignError> {
    let canonical = |error: Box<dyn std::error::Error + Send + Sync>| SignError::Canonical(error);
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&scope.region)
        .name(&scope.service)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| canonical(error.into()))?
        .into();
    let uri = request.uri().to_string();
    // Header values that are not text cannot be signed; we send none.
    let headers = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(request.body());
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, body)
        .map_err(|error| canonical(error.into()))?;
    let (instructions, _) = sign(signable, &params)
        .map_err(|error| canonical(error.into()))?
        .into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// The region in the name of an AMP endpoint, with or without FIPS and in either
/// domain: `aps-workspaces.us-east-1.amazonaws.com`,
/// `aps-workspaces-fips.us-east-1.api.aws`.
pub fn region_of(url: &Url) -> Option<&str> {
    let mut parts = url.host_str()?.split('.');
    let service = parts.next()?;
    let is_amp = service == "aps-workspaces" || service == "aps-workspaces-fips";
    let region = parts.next().filter(|_| is_amp)?;
    let domain: Vec<_> = parts.collect();
    let known = [
        "amazonaws.com",
        "amazonaws.com.cn",
        "api.aws",
        "api.amazonwebservices.com.cn",
    ];
    known.contains(&domain.join(".").as_str()).then_some(region)
}
