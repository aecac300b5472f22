//! Fetches tokens with the OAuth 2.0 client credentials grant (RFC 6749, section 4.4).

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use mesh_model::config::http::{HttpClientConfig, OAuth2Config};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::form_urlencoded::Serializer;

use super::{HttpClient, HttpClientError, Replayable, secret};

/// Time before the expiry at which a token is replaced.
const MARGIN: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 1 << 20;

/// Fetches tokens and caches the current one until shortly before it expires.
#[derive(Debug)]
pub(super) struct Tokens {
    config: OAuth2Config,
    client: HttpClient,
    current: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    authorization: String,
    expires: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<u64>,
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn new(config: OAuth2Config) -> Result<Self, HttpClientError> {
        let client = HttpClient::new(&HttpClientConfig {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            ..HttpClientConfig::default()
        })?;
        let current = Mutex::default();
        Ok(Self {
            config,
            client,
            current,
        })
    }

    /// Returns the value of the `Authorization` header, with a valid token.
    pub(super) async fn authorization(&self) -> Result<String, HttpClientError> {
        let mut current = self.current.lock().await;
        if let Some(token) = &*current
            && token.expires.is_none_or(|at| Instant::now() < at)
        {
            return Ok(token.authorization.clone());
        }
        let token = self.fetch().await?;
        let authorization = token.authorization.clone();
        *current = Some(token);
        Ok(authorization)
    }

    async fn fetch(&self) -> Result<Token, HttpClientError> {
        let failed =
            |why: String| HttpClientError::OAuth2(format!("{}: {why}", self.config.token_url));
        let request = Request::post(self.config.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            // A second token does no harm.
            .extension(Replayable)
            .body(self.form().await?)
            .map_err(|error| failed(error.to_string()))?;
        // Boxed, since the request of this client could itself need a token.
        let response = Box::pin(self.client.request(request));
        let exchange = tokio::time::timeout(TIMEOUT, async {
            let response = response.await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok::<_, HttpClientError>((status, body.map(http_body_util::Collected::to_bytes)))
        });
        let (status, body) = exchange
            .await
            .map_err(|_| failed(format!("no response within {} s", TIMEOUT.as_secs())))??;
        let body = body.map_err(|error| failed(error.to_string()))?;
        if !status.is_success() {
            return Err(failed(format!("status {status}")));
        }
        let token: TokenResponse =
            serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
        let scheme = match token.token_type.as_deref() {
            None => "Bearer",
            Some(scheme) if scheme.eq_ignore_ascii_case("bearer") => "Bearer",
            Some(scheme) => scheme,
        };
        let lifetime = token.expires_in.map(Duration::from_secs);
        Ok(Token {
            authorization: format!("{scheme} {}", token.access_token),
            expires: lifetime.map(|time| Instant::now() + time.saturating_sub(MARGIN)),
        })
    }

    async fn form(&self) -> Result<Bytes, HttpClientError> {
        // Read first, since a `Serializer` is not `Send` and must not live across an await.
        let client_secret = secret(&self.config.client_secret).await?;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("client_secret", &client_secret);
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        for (name, values) in &self.config.endpoint_params {
            for value in values {
                form.append_pair(name, value);
            }
        }
        Ok(form.finish().into())
    }
}
