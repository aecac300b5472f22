//! Sets the `Authorization` header.

use http::{HeaderMap, header::AUTHORIZATION};
use mesh_model::config::http::{Auth, SecretSource};

use super::{HttpClientError, credentials::basic, header, oauth2::Tokens, secret};

/// Authentication method with the state that it needs.
#[derive(Debug)]
pub(super) enum Authenticator {
    Basic {
        username: SecretSource,
        password: Option<SecretSource>,
    },
    Credentials {
        scheme: String,
        credentials: SecretSource,
    },
    OAuth2(Box<Tokens>),
}

// === impl Authenticator ===

impl Authenticator {
    pub(super) fn new(client: &str, auth: &Auth) -> Result<Self, HttpClientError> {
        Ok(match auth.clone() {
            Auth::Basic { username, password } => Self::Basic { username, password },
            Auth::Authorization {
                scheme,
                credentials,
            } => Self::Credentials {
                scheme,
                credentials,
            },
            Auth::OAuth2(config) => Self::OAuth2(Box::new(Tokens::new(client, *config)?)),
        })
    }

    /// Sets the `Authorization` header. Credentials in the request or its URL precede those of
    /// `basic_auth` and `authorization`, but not an oauth2 token, as in Prometheus.
    pub(super) async fn authenticate(
        &self,
        headers: &mut HeaderMap,
    ) -> Result<(), HttpClientError> {
        if headers.contains_key(AUTHORIZATION) && !matches!(self, Self::OAuth2(_)) {
            return Ok(());
        }
        let text = match self {
            Self::Basic { username, password } => {
                let username = secret(username).await?;
                let password = match password {
                    Some(password) => secret(password).await?,
                    None => String::new(),
                };
                let value = basic(username.as_bytes(), password.as_bytes());
                headers.insert(AUTHORIZATION, value);
                return Ok(());
            }
            Self::Credentials {
                scheme,
                credentials,
            } => format!("{scheme} {}", secret(credentials).await?),
            Self::OAuth2(tokens) => tokens.authorization().await?,
        };
        let mut value = header(&AUTHORIZATION, &text)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}
