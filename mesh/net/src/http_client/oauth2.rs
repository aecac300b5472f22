//! Fetches tokens with the OAuth 2.0 client credentials grant (RFC 6749, section 4.4).

mod request;
mod response;

use std::time::Duration;

use http::{StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use mesh_model::config::{
    http::{HttpClientConfig, OAuth2Config},
    redacted,
};
use tokio::{sync::Mutex, time::Instant};

use self::{
    request::{CredentialsIn, token_request},
    response::TokenResponse,
};
use super::{HttpClient, HttpClientError, secret};
use crate::describe;

/// Time before the expiry at which a token is replaced.
const MARGIN: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 1 << 20;

/// Fetches tokens and caches the current one until shortly before it expires.
#[derive(Debug)]
pub(super) struct Tokens {
    config: OAuth2Config,
    client: HttpClient,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// Place of the client's credentials that the token endpoint accepted.
    accepted: Option<CredentialsIn>,
}

struct Token {
    authorization: String,
    expires: Option<Instant>,
    /// Client secret that the token was fetched with.
    secret: String,
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn new(client: &str, config: OAuth2Config) -> Result<Self, HttpClientError> {
        let settings = HttpClientConfig {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            ..HttpClientConfig::default()
        };
        let client = HttpClient::named(format!("{client}: oauth2"), &settings)?;
        Ok(Self {
            config,
            client,
            state: Mutex::default(),
        })
    }

    /// Returns the value of the `Authorization` header, with a valid token.
    ///
    /// Fetches a token if the current one is about to expire, or if the file with the client
    /// secret has changed.
    pub(super) async fn authorization(&self) -> Result<String, HttpClientError> {
        let secret = secret(&self.config.client_secret).await?;
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && token.is_valid(&secret)
        {
            return Ok(token.authorization.clone());
        }
        let token = self.fetch(secret, &mut state.accepted).await?;
        let authorization = token.authorization.clone();
        state.token = Some(token);
        Ok(authorization)
    }

    /// Fetches a token. Sends the client's credentials by HTTP Basic first, and in the body
    /// after an error, until one of the two has worked.
    async fn fetch(
        &self,
        secret: String,
        accepted: &mut Option<CredentialsIn>,
    ) -> Result<Token, HttpClientError> {
        let failed = |why: String| {
            HttpClientError::OAuth2(format!("{}: {why}", redacted(&self.config.token_url)))
        };
        let answer = match *accepted {
            Some(place) => self.exchange(place, &secret).await.map_err(failed)?,
            None => {
                let (place, answer) = self.probe(&secret).await.map_err(failed)?;
                *accepted = Some(place);
                answer
            }
        };
        let lifetime = answer.lifetime();
        Ok(Token {
            authorization: answer.authorization(),
            expires: lifetime.map(|time| Instant::now() + time.saturating_sub(MARGIN)),
            secret,
        })
    }

    async fn probe(&self, secret: &str) -> Result<(CredentialsIn, TokenResponse), String> {
        let by_basic = match self.exchange(CredentialsIn::Header, secret).await {
            Ok(answer) => return Ok((CredentialsIn::Header, answer)),
            Err(error) => error,
        };
        match self.exchange(CredentialsIn::Body, secret).await {
            Ok(answer) => Ok((CredentialsIn::Body, answer)),
            Err(in_body) if in_body == by_basic => Err(in_body),
            Err(in_body) => Err(format!(
                "{by_basic} with HTTP Basic; {in_body} with the credentials in the body"
            )),
        }
    }

    async fn exchange(&self, place: CredentialsIn, secret: &str) -> Result<TokenResponse, String> {
        let request = token_request(&self.config, place, secret)?;
        // Boxed, since the request of this client could itself need a token.
        let response = Box::pin(self.client.request(request));
        let exchange = async {
            let response = response.await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(|error| describe(&*error))?.to_bytes();
            let kind = head.headers.get(CONTENT_TYPE);
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            answer(head.status, kind, &body)
        };
        let timeout = tokio::time::timeout(TIMEOUT, exchange).await;
        timeout.map_err(|_| format!("no response within {} s", TIMEOUT.as_secs()))?
    }
}

fn answer(status: StatusCode, kind: &str, body: &[u8]) -> Result<TokenResponse, String> {
    let parsed = TokenResponse::parse(kind, body);
    if status.is_success() {
        return parsed.and_then(TokenResponse::into_success);
    }
    let why = parsed.ok().and_then(|answer| answer.error());
    Err(why.map_or_else(
        || format!("status {status}"),
        |why| format!("status {status}, {why}"),
    ))
}

// === impl Token ===

impl Token {
    fn is_valid(&self, secret: &str) -> bool {
        self.secret == secret && self.expires.is_none_or(|at| Instant::now() < at)
    }
}

impl std::fmt::Debug for Token {
    /// Omits the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
