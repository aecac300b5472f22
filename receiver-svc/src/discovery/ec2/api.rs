//! The EC2 Query API: signed forms out, XML back.

use std::time::{Duration, SystemTime};

use aws_credential_types::{Credentials, provider::ProvideCredentials};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh::{
    aws::{
        Aws, AwsOptions,
        sign::{CanonicalError, Scope, sign_at},
    },
    config::discovery::Ec2Config,
    http_client::{HttpClient, HttpClientError},
};
use serde::de::DeserializeOwned;
use url::{Url, form_urlencoded::Serializer};

use super::answer::Refusal;

const VERSION: &str = "2016-11-15";
/// Far more than a page of instances needs.
const MAX_BODY: usize = 64 << 20;
/// Credentials are renewed so long before they expire.
const AHEAD: Duration = Duration::from_secs(300);
const USER_AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

/// Asks the API of one region.
#[derive(Debug)]
pub(super) struct Api {
    options: AwsOptions,
    endpoint: Option<String>,
    client: HttpClient,
    /// What the credential chain found, once it knows a region.
    found: Option<(Aws, String)>,
    credentials: Option<Credentials>,
}

/// A call that brought no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(
        "no region, expected one in the configuration, the environment, the profile or instance metadata"
    )]
    NoRegion,
    #[error("no credentials: {0}")]
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
    Refused {
        action: &'static str,
        status: StatusCode,
        problem: String,
    },
    #[error("{action}: answer not understood: {problem}")]
    Answer {
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
                use_fips_sts: false,
            },
            endpoint: config.endpoint.clone(),
            client,
            found: None,
            credentials: None,
        }
    }

    /// Finds what calls need, and tells the region.
    pub(super) async fn prepare(&mut self) -> Result<String, ApiError> {
        if self.found.is_none() {
            let aws = self.options.resolve().await;
            let region = aws.region.clone().ok_or(ApiError::NoRegion)?;
            self.found = Some((aws, region));
        }
        let (aws, region) = self.found.as_ref().expect("it was found above");
        if self.credentials.as_ref().is_none_or(may_be_old) {
            let provided = aws.credentials.provide_credentials().await;
            let failed = |error| ApiError::NoCredentials(chain(&error));
            self.credentials = Some(provided.map_err(failed)?);
        }
        Ok(region.clone())
    }

    /// One call, after [`Api::prepare`].
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        parameters: Vec<(String, String)>,
    ) -> Result<T, ApiError> {
        let request = self.request(action, parameters)?;
        let response = self.client.request(request).await;
        let response = response.map_err(|source| ApiError::Client { action, source })?;
        let status = response.status();
        let unreadable = |problem: String| ApiError::Answer { action, problem };
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| unreadable(error.to_string()))?;
        let bytes = body.to_bytes();
        let text = std::str::from_utf8(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if !status.is_success() {
            let refusal = quick_xml::de::from_str::<Refusal>(text).map(|r| r.errors.error);
            return Err(ApiError::Refused {
                action,
                status,
                problem: refusal.map_or_else(
                    |_| "no reason given".to_owned(),
                    |error| format!("{}: {}", error.code, error.message),
                ),
            });
        }
        quick_xml::de::from_str(text).map_err(|error| unreadable(error.to_string()))
    }

    /// Makes [`Api::prepare`] ask for credentials anew: those there are may have
    /// been rotated.
    pub(super) fn forget_credentials(&mut self) {
        self.credentials = None;
    }

    fn request(
        &self,
        action: &'static str,
        parameters: Vec<(String, String)>,
    ) -> Result<Request<Bytes>, ApiError> {
        let (_, region) = self.found.as_ref().ok_or(ApiError::NoRegion)?;
        let none = || ApiError::NoCredentials("not asked for yet".to_owned());
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

    /// The configured endpoint, https unless it says otherwise, or the region's.
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

/// Those that do not expire may have been rotated where they come from.
fn may_be_old(credentials: &Credentials) -> bool {
    let soon = SystemTime::now() + AHEAD;
    credentials.expiry().is_none_or(|expiry| expiry <= soon)
}

/// An error and what it comes from: the provider's own words do not say why.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
