//! Signs requests with AWS Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::Request;

/// Region and service that a signature is valid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// AWS region.
    pub region: String,
    /// AWS service, such as `aps` for AMP.
    pub service: String,
}

/// Error for a request without a canonical form, which cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("signing: {0}")]
pub struct CanonicalError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Signs a request. `time` is the time of the signature.
///
/// # Errors
/// Returns an error if the request has no canonical form, for example because of an invalid
/// URI.
pub fn sign_at(
    request: &mut Request<Bytes>,
    scope: &Scope,
    credentials: &Credentials,
    time: SystemTime,
) -> Result<(), CanonicalError> {
    let canonical = |error: Box<dyn std::error::Error + Send + Sync>| CanonicalError(error);
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
    // Header values that are not text cannot be signed. promesh sends none.
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
