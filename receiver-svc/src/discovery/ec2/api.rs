//! Client of the EC2 Query API: sends signed forms and parses XML responses.

use std::time::{Duration, SystemTime};

use aws_credential_types::{Credentials, provider::ProvideCredentials};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh_base::error::chain;
use mesh_model::config::discovery::Ec2Config;
use mesh_net::{
    aws::{
        Aws, AwsOptions,
        sign::{CanonicalError, Scope, sign_at},
    },
    http_client::{HttpClient, HttpClientError, Replayable},
};
use serde::de::DeserializeOwned;
use url::{Url, form_urlencoded::Serializer};

use super::response::ErrorResponse;

const VERSION: &str = "2016-11-15";
/// Maximum size of one DescribeInstances page (64 MiB; a full page is about 2 MiB).
const MAX_BODY: usize = 64 << 20;
/// Time before their expiry at which credentials are renewed.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(300);
const USER_AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

/// Client of the EC2 API of one region.
#[derive(Debug)]
pub(super) struct Api {
    options: AwsOptions,
    endpoint: Option<String>,
    client: HttpClient,
    /// Credentials provider and region; `None` until [`Api::prepare`] resolves them.
    resolved: Option<(Aws, String)>,
    credentials: Option<Credentials>,
}

/// Error of a call to the EC2 API.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("no AWS region; set `region` in ec2_sd_configs, AWS_REGION or the profile")]
    NoRegion,
    #[error("no AWS credentials: {0}")]
    NoCredentials(String),
    #[error("endpoint {endpoint:?}: {problem}")]
    Endpoint { endpoint: String, problem: String },
    #[error("{action}: {source}")]
    Sign {
        action: &'static str,
        source: CanonicalError,
    },
    #[error("{action}: {source}")]
    Client {
        action: &'static str,
        source: HttpClientError,
    },
    #[error("{action}: {status}: {problem}")]
    Rejected {
        action: &'static str,
        status: StatusCode,
        problem: String,
    },
    #[error("{action}: invalid response: {problem}")]
    InvalidResponse {
        action: &'static str,
        problem: String,
    },
}

// === impl Api ===

impl Api {
    pub(super) fn new(config: &Ec2Config, client: HttpClient) -> Self {
        let keys = config.access_key.clone().zip(config.secret_key.clone());
        Self {
            options: AwsOptions {
                region: config.region.clone(),
                keys,
                profile: config.profile.clone(),
                role_arn: config.role_arn.clone(),
                external_id: config.external_id.clone(),
                session_name: None,
                tags: Default::default(),
                use_fips_sts: false,
            },
            endpoint: config.endpoint.clone(),
            client,
            resolved: None,
            credentials: None,
        }
    }

    /// Resolves the region and the credentials for calls. Returns the region.
    pub(super) async fn prepare(&mut self) -> Result<String, ApiError> {
        if self.resolved.is_none() {
            let aws = self.options.resolve().await;
            let region = aws.region.clone().ok_or(ApiError::NoRegion)?;
            self.resolved = Some((aws, region));
        }
        let (aws, region) = self.resolved.as_ref().expect("resolved above");
        if self.credentials.as_ref().is_none_or(needs_renewal) {
            let provided = aws.credentials.provide_credentials().await;
            let failed = |error| ApiError::NoCredentials(chain(&error).to_string());
            self.credentials = Some(provided.map_err(failed)?);
        }
        Ok(region.clone())
    }

    /// Sends one request. [`Api::prepare`] must have succeeded before.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        parameters: Vec<(String, String)>,
    ) -> Result<T, ApiError> {
        let request = self.request(action, parameters)?;
        let response = self.client.request(request).await;
        let response = response.map_err(|source| ApiError::Client { action, source })?;
        let status = response.status();
        let invalid = |problem: String| ApiError::InvalidResponse { action, problem };
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| invalid(error.to_string()))?;
        let bytes = body.to_bytes();
        let text = std::str::from_utf8(&bytes).map_err(|error| invalid(error.to_string()))?;
        if !status.is_success() {
            let rejection = quick_xml::de::from_str::<ErrorResponse>(text).map(|r| r.errors.error);
            return Err(ApiError::Rejected {
                action,
                status,
                problem: rejection.map_or_else(
                    |_| "no error message".to_owned(),
                    |error| format!("{}: {}", error.code, error.message),
                ),
            });
        }
        quick_xml::de::from_str(text).map_err(|error| invalid(error.to_string()))
    }

    /// Makes [`Api::prepare`] load the credentials again, since they may have been
    /// rotated.
    pub(super) fn forget_credentials(&mut self) {
        self.credentials = None;
    }

    fn request(
        &self,
        action: &'static str,
        parameters: Vec<(String, String)>,
    ) -> Result<Request<Bytes>, ApiError> {
        let (_, region) = self.resolved.as_ref().ok_or(ApiError::NoRegion)?;
        let none = || ApiError::NoCredentials("not loaded yet".to_owned());
        let credentials = self.credentials.as_ref().ok_or_else(none)?;
        let form = Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", VERSION)
            .extend_pairs(parameters)
            .finish();
        let mut request = Request::post(self.url(region)?.as_str())
            .header(
                header::CONTENT_TYPE,
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .header(header::USER_AGENT, USER_AGENT)
            // Each call only reads.
            .extension(Replayable)
            .body(form.into())
            .expect("a URL makes a request");
        let scope = Scope {
            region: region.clone(),
            service: "ec2".to_owned(),
        };
        sign_at(&mut request, &scope, credentials, SystemTime::now())
            .map_err(|source| ApiError::Sign { action, source })?;
        Ok(request)
    }

    /// Returns the configured endpoint, or the default endpoint of the region. An
    /// endpoint without a scheme uses https.
    fn url(&self, region: &str) -> Result<Url, ApiError> {
        let endpoint = match &self.endpoint {
            Some(endpoint) if endpoint.contains("://") => endpoint.clone(),
            Some(endpoint) => format!("https://{endpoint}"),
            None if region.starts_with("cn-") => format!("https://ec2.{region}.amazonaws.com.cn"),
            None => format!("https://ec2.{region}.amazonaws.com"),
        };
        endpoint
            .parse()
            .map_err(|error: url::ParseError| ApiError::Endpoint {
                endpoint,
                problem: error.to_string(),
            })
    }
}

/// Returns true if the credentials expire soon or never. Static credentials can be
/// rotated at their source, so every refresh loads them again.
fn needs_renewal(credentials: &Credentials) -> bool {
    let soon = SystemTime::now() + RENEW_BEFORE_EXPIRY;
    credentials.expiry().is_none_or(|expiry| expiry <= soon)
}
