//! Sets the `Authorization` header.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use mesh_model::config::http::{Auth, SecretSource};

use super::{HttpClientError, header, oauth2::Tokens, secret};

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
    pub(super) fn new(auth: &Auth) -> Result<Self, HttpClientError> {
        Ok(match auth.clone() {
            Auth::Basic { username, password } => Self::Basic { username, password },
            Auth::Authorization {
                scheme,
                credentials,
            } => Self::Credentials {
                scheme,
                credentials,
            },
            Auth::OAuth2(config) => Self::OAuth2(Box::new(Tokens::new(*config)?)),
        })
    }

    /// Sets the `Authorization` header, unless the request already has one.
    pub(super) async fn authenticate(
        &self,
        headers: &mut HeaderMap,
    ) -> Result<(), HttpClientError> {
        if headers.contains_key(AUTHORIZATION) {
            return Ok(());
        }
        let text = match self {
            Self::Basic { username, password } => {
                let username = secret(username).await?;
                let password = match password {
                    Some(password) => secret(password).await?,
                    None => String::new(),
                };
                format!(
                    "Basic {}",
                    BASE64_STANDARD.encode(format!("{username}:{password}"))
                )
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
