//! Client of the AWS APIs: sends signed requests and parses their responses.
//!
//! EC2 takes forms and answers in XML, ECS takes and answers JSON, MSK answers JSON.

use std::time::{Duration, SystemTime};

use aws_credential_types::{Credentials, provider::ProvideCredentials};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use mesh_model::config::discovery::AwsConfig;
use mesh_net::{
    aws::{
        Aws, AwsOptions,
        sign::{CanonicalError, Scope, sign_at},
    },
    describe,
    http_client::{HttpClient, HttpClientError, Replayable},
};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Url, form_urlencoded::Serializer};

use crate::discovery::ec2::response::ErrorResponse;

/// Version of the EC2 API.
const EC2_VERSION: &str = "2016-11-15";
/// Prefix of the actions of the ECS API.
const ECS_TARGET: &str = "AmazonEC2ContainerServiceV20141113";
/// Maximum size of one response (64 MiB; a full page of EC2 instances is about 2 MiB).
const MAX_BODY: usize = 64 << 20;
/// Time before their expiry at which credentials are renewed.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(300);
const USER_AGENT: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

/// Client of one AWS service in one region.
#[derive(Debug)]
pub(in crate::discovery) struct Api {
    /// Name of the service in its host name and in signatures.
    service: &'static str,
    options: AwsOptions,
    endpoint: Option<String>,
    client: HttpClient,
    /// Credentials provider and region; `None` until [`Api::prepare`] resolves them.
    resolved: Option<(Aws, String)>,
    credentials: Option<Credentials>,
}

/// Error of a call to an AWS API.
#[derive(Debug, thiserror::Error)]
pub(in crate::discovery) enum ApiError {
    #[error("no AWS region; set `region` in the discovery section, AWS_REGION or the profile")]
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
    #[error("{action}: {error}")]
    Request {
        action: &'static str,
        error: http::Error,
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
    pub(in crate::discovery) fn new(
        config: &AwsConfig,
        service: &'static str,
        client: HttpClient,
    ) -> Self {
        let keys = config.access_key.clone().zip(config.secret_key.clone());
        Self {
            service,
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
    pub(in crate::discovery) async fn prepare(&mut self) -> Result<String, ApiError> {
        if self.resolved.is_none() {
            let aws = self.options.resolve().await;
            let region = aws.region.clone().ok_or(ApiError::NoRegion)?;
            self.resolved = Some((aws, region));
        }
        let (aws, region) = self.resolved.as_ref().expect("resolved above");
        if self.credentials.as_ref().is_none_or(needs_renewal) {
            let provided = aws.credentials.provide_credentials().await;
            let failed = |error| ApiError::NoCredentials(describe(&error));
            self.credentials = Some(provided.map_err(failed)?);
        }
        Ok(region.clone())
    }

    /// Sends a form and reads XML, as the EC2 API does. [`Api::prepare`] must have succeeded
    /// before.
    pub(in crate::discovery) async fn query<T: DeserializeOwned>(
        &self,
        action: &'static str,
        parameters: Vec<(String, String)>,
    ) -> Result<T, ApiError> {
        let form = Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", EC2_VERSION)
            .extend_pairs(parameters)
            .finish();
        let request = Request::post(self.url("")?.as_str()).header(
            header::CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let (status, text) = self.send(action, request, form).await?;
        if !status.is_success() {
            let rejection = quick_xml::de::from_str::<ErrorResponse>(&text).map(|r| r.errors.error);
            let problem = rejection.map(|error| format!("{}: {}", error.code, error.message));
            return Err(rejected(action, status, problem.ok()));
        }
        quick_xml::de::from_str(&text).map_err(|error| invalid(action, error))
    }

    /// Sends and reads JSON, as the ECS API does. [`Api::prepare`] must have succeeded before.
    pub(in crate::discovery) async fn json<T: DeserializeOwned>(
        &self,
        action: &'static str,
        body: &serde_json::Value,
    ) -> Result<T, ApiError> {
        let request = Request::post(self.url("")?.as_str())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{ECS_TARGET}.{action}"));
        let (status, text) = self.send(action, request, body.to_string()).await?;
        parse_json(action, status, &text)
    }

    /// Gets JSON from a path, as the MSK API does. [`Api::prepare`] must have succeeded before.
    pub(in crate::discovery) async fn get<T: DeserializeOwned>(
        &self,
        action: &'static str,
        path: &str,
    ) -> Result<T, ApiError> {
        let request = Request::get(self.url(path)?.as_str());
        let (status, text) = self.send(action, request, String::new()).await?;
        parse_json(action, status, &text)
    }

    /// Makes [`Api::prepare`] load the credentials again, since they may have been
    /// rotated.
    pub(in crate::discovery) fn forget_credentials(&mut self) {
        self.credentials = None;
    }

    /// Signs and sends a request. Returns the status and the body of the response.
    async fn send(
        &self,
        action: &'static str,
        request: http::request::Builder,
        body: String,
    ) -> Result<(StatusCode, String), ApiError> {
        let (_, region) = self.resolved.as_ref().ok_or(ApiError::NoRegion)?;
        let none = || ApiError::NoCredentials("not loaded yet".to_owned());
        let credentials = self.credentials.as_ref().ok_or_else(none)?;
        let mut request = request
            .header(header::USER_AGENT, USER_AGENT)
            // Each call only reads.
            .extension(Replayable)
            .body(body.into())
            .map_err(|error| ApiError::Request { action, error })?;
        let scope = Scope {
            region: region.clone(),
            service: self.service.to_owned(),
        };
        sign_at(&mut request, &scope, credentials, SystemTime::now())
            .map_err(|source| ApiError::Sign { action, source })?;
        let response = self.client.request(request).await;
        let response = response.map_err(|source| ApiError::Client { action, source })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| invalid(action, error))?.to_bytes();
        let text = String::from_utf8(body.into()).map_err(|error| invalid(action, error))?;
        Ok((status, text))
    }

    /// Returns the configured endpoint, or the default endpoint of the region. An
    /// endpoint without a scheme uses https. Adds the path.
    fn url(&self, path: &str) -> Result<Url, ApiError> {
        let (_, region) = self.resolved.as_ref().ok_or(ApiError::NoRegion)?;
        let service = self.service;
        let endpoint = match &self.endpoint {
            Some(endpoint) if endpoint.contains("://") => endpoint.clone(),
            Some(endpoint) => format!("https://{endpoint}"),
            None if region.starts_with("cn-") => {
                format!("https://{service}.{region}.amazonaws.com.cn")
            }
            None => format!("https://{service}.{region}.amazonaws.com"),
        };
        let url = match path {
            "" => endpoint.clone(),
            path => format!("{}{path}", endpoint.trim_end_matches('/')),
        };
        url.parse()
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

/// The `code` and the `message` of a rejected JSON request.
#[derive(Debug, Deserialize)]
struct Rejection {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

fn parse_json<T: DeserializeOwned>(
    action: &'static str,
    status: StatusCode,
    text: &str,
) -> Result<T, ApiError> {
    if !status.is_success() {
        let rejection = serde_json::from_str::<Rejection>(text).ok();
        let parts = rejection.map(|r| [r.kind, r.message].into_iter().flatten());
        let problem = parts.map(|parts| parts.collect::<Vec<_>>().join(": "));
        return Err(rejected(action, status, problem.filter(|p| !p.is_empty())));
    }
    serde_json::from_str(text).map_err(|error| invalid(action, error))
}

fn rejected(action: &'static str, status: StatusCode, problem: Option<String>) -> ApiError {
    ApiError::Rejected {
        action,
        status,
        problem: problem.unwrap_or_else(|| "no error message".to_owned()),
    }
}

fn invalid(action: &'static str, error: impl ToString) -> ApiError {
    ApiError::InvalidResponse {
        action,
        problem: error.to_string(),
    }
}

/// Encodes an ARN as one segment of a path.
pub(in crate::discovery) fn path_segment(arn: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    arn.bytes().map(encode).collect()
}
