//! The HTTP client settings of a section.
//!
//! They are keys of the section itself, next to its other keys. serde cannot flatten one
//! strict struct into another, so the macro [`with_http`] adds the keys to each struct.

mod proxy;
mod secret;
mod tls;

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use url::Url;

use self::secret::{Given, at_most_one, refuse_references, secret};
pub(in crate::config_file) use self::{proxy::Proxy, tls::Tls};
use super::{
    scalar::Text,
    section::{Context, Problem, refuse},
};
use crate::config::{
    Params, Secret,
    http::{Auth, HttpClientConfig, OAuth2Config, SecretSource},
};

/// The keys of the HTTP client.
#[derive(Debug, Default)]
pub(in crate::config_file) struct Http {
    pub(in crate::config_file) basic_auth: Option<BasicAuth>,
    pub(in crate::config_file) authorization: Option<Authorization>,
    pub(in crate::config_file) oauth2: Option<OAuth2>,
    pub(in crate::config_file) bearer_token: Option<Text<Secret>>,
    pub(in crate::config_file) bearer_token_file: Option<String>,
    pub(in crate::config_file) tls_config: Option<Tls>,
    pub(in crate::config_file) follow_redirects: Option<bool>,
    pub(in crate::config_file) enable_http2: Option<bool>,
    pub(in crate::config_file) proxy: Proxy,
    pub(in crate::config_file) http_headers: Option<BTreeMap<String, Option<Header>>>,
}

/// Declares a strict struct that has the keys of the HTTP client besides its own.
macro_rules! with_http {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in crate::config_file) struct $name {
            $($(#[$field_meta])* $field: $type,)*
            basic_auth: Option<crate::config_file::http::BasicAuth>,
            authorization: Option<crate::config_file::http::Authorization>,
            oauth2: Option<crate::config_file::http::OAuth2>,
            bearer_token: Option<crate::config_file::scalar::Text<crate::config::Secret>>,
            bearer_token_file: Option<String>,
            tls_config: Option<crate::config_file::http::Tls>,
            #[serde(default, deserialize_with = "crate::config_file::scalar::null_is_zero")]
            follow_redirects: Option<bool>,
            #[serde(default, deserialize_with = "crate::config_file::scalar::null_is_zero")]
            enable_http2: Option<bool>,
            proxy_url: Option<String>,
            no_proxy: Option<String>,
            proxy_from_environment: Option<bool>,
            proxy_connect_header: Option<
                std::collections::BTreeMap<
                    String,
                    Vec<crate::config_file::scalar::Text<crate::config::Secret>>,
                >,
            >,
            http_headers: Option<
                std::collections::BTreeMap<String, Option<crate::config_file::http::Header>>,
            >,
        }

        impl $name {
            fn take_http(&mut self) -> crate::config_file::http::Http {
                crate::config_file::http::Http {
                    basic_auth: self.basic_auth.take(),
                    authorization: self.authorization.take(),
                    oauth2: self.oauth2.take(),
                    bearer_token: self.bearer_token.take(),
                    bearer_token_file: self.bearer_token_file.take(),
                    tls_config: self.tls_config.take(),
                    follow_redirects: self.follow_redirects.take(),
                    enable_http2: self.enable_http2.take(),
                    proxy: crate::config_file::http::Proxy {
                        proxy_url: self.proxy_url.take(),
                        no_proxy: self.no_proxy.take(),
                        proxy_from_environment: self.proxy_from_environment.take(),
                        proxy_connect_header: self.proxy_connect_header.take(),
                    },
                    http_headers: self.http_headers.take(),
                }
            }
        }
    };
}
pub(in crate::config_file) use with_http;

/// `basic_auth`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct BasicAuth {
    username: Option<String>,
    username_file: Option<String>,
    password: Option<Text<Secret>>,
    password_file: Option<String>,
    username_ref: Option<IgnoredAny>,
    password_ref: Option<IgnoredAny>,
}

/// `authorization`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Authorization {
    r#type: Option<String>,
    credentials: Option<Text<Secret>>,
    credentials_file: Option<String>,
    credentials_ref: Option<IgnoredAny>,
}

/// `oauth2`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct OAuth2 {
    client_id: Option<String>,
    client_secret: Option<Text<Secret>>,
    client_secret_file: Option<String>,
    scopes: Option<Vec<String>>,
    token_url: Option<Text<Url>>,
    endpoint_params: Option<BTreeMap<String, String>>,
    tls_config: Option<Tls>,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<bool>,
    proxy_connect_header: Option<BTreeMap<String, Vec<Text<Secret>>>>,
    client_secret_ref: Option<IgnoredAny>,
    // Keys of the grant `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    grant_type: Option<String>,
    client_certificate_key_id: Option<IgnoredAny>,
    client_certificate_key: Option<IgnoredAny>,
    client_certificate_key_file: Option<IgnoredAny>,
    client_certificate_key_ref: Option<IgnoredAny>,
    signature_algorithm: Option<IgnoredAny>,
    iss: Option<IgnoredAny>,
    audience: Option<IgnoredAny>,
    claims: Option<IgnoredAny>,
}

/// One entry of `http_headers`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Header {
    values: Option<Vec<String>>,
    secrets: Option<Vec<Text<Secret>>>,
    files: Option<Vec<String>>,
}

/// Headers that users cannot set: those of Prometheus, and those that frame a message.
const RESERVED_HEADERS: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "www-authenticate",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-prometheus-remote-read-version",
    "x-prometheus-remote-write-version",
    "x-prometheus-scrape-timeout-seconds",
];

// === impl Http ===

impl Http {
    pub(in crate::config_file) fn build(
        self,
        context: Context<'_>,
    ) -> Result<HttpClientConfig, Problem> {
        self.check_exclusive()?;
        let bearer = secret(self.bearer_token, self.bearer_token_file, context);
        let auth = match (self.basic_auth, self.authorization, self.oauth2, bearer) {
            (Some(basic), ..) => Some(basic.build(context)?),
            (None, Some(authorization), ..) => Some(authorization.build(context)?),
            (None, None, Some(oauth2), _) => Some(oauth2.build(context)?),
            (None, None, None, Some(credentials)) => Some(Auth::Authorization {
                scheme: "Bearer".to_owned(),
                credentials,
            }),
            (None, None, None, None) => None,
        };
        let headers = self.http_headers.unwrap_or_default().into_iter();
        Ok(HttpClientConfig {
            auth,
            tls: self.tls_config.unwrap_or_default().build(context)?,
            follow_redirects: self.follow_redirects.unwrap_or(true),
            enable_http2: self.enable_http2.unwrap_or(true),
            proxy: self.proxy.build()?,
            http_headers: headers
                .map(|(name, header)| header.unwrap_or_default().build(name, context))
                .collect::<Result<_, _>>()?,
        })
    }

    fn check_exclusive(&self) -> Result<(), Problem> {
        let bearer_token = self.bearer_token.is_given();
        let bearer_token_file = self.bearer_token_file.is_given();
        if bearer_token && bearer_token_file {
            return Err(Problem::new(
                "at most one of bearer_token & bearer_token_file must be configured",
            ));
        }
        let bearer = bearer_token || bearer_token_file;
        if bearer && (self.basic_auth.is_some() || self.oauth2.is_some()) {
            return Err(Problem::new(
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            ));
        }
        if bearer && self.authorization.is_some() {
            return Err(Problem::new(
                "authorization is not compatible with bearer_token & bearer_token_file",
            ));
        }
        let ways = [
            self.basic_auth.is_some(),
            self.oauth2.is_some(),
            self.authorization.is_some(),
        ];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err(Problem::new(
                "at most one of basic_auth, oauth2 & authorization must be configured",
            ));
        }
        Ok(())
    }
}

// === impl BasicAuth ===

impl BasicAuth {
    fn build(self, context: Context<'_>) -> Result<Auth, Problem> {
        refuse_references([
            ("username_ref", self.username_ref.is_some()),
            ("password_ref", self.password_ref.is_some()),
        ])?;
        at_most_one(
            &self.username,
            &self.username_file,
            "basic_auth: username & username_file",
        )?;
        at_most_one(
            &self.password,
            &self.password_file,
            "basic_auth: password & password_file",
        )?;
        let username = self.username.map(|name| Text(Secret::new(name)));
        let username = secret(username, self.username_file, context);
        Ok(Auth::Basic {
            username: username.unwrap_or(SecretSource::Inline(Secret::default())),
            password: secret(self.password, self.password_file, context),
        })
    }
}

// === impl Authorization ===

impl Authorization {
    fn build(self, context: Context<'_>) -> Result<Auth, Problem> {
        refuse_references([("credentials_ref", self.credentials_ref.is_some())])?;
        at_most_one(
            &self.credentials,
            &self.credentials_file,
            "authorization: credentials & credentials_file",
        )?;
        let scheme = self.r#type.unwrap_or_default();
        let scheme = if scheme.trim().is_empty() {
            "Bearer"
        } else {
            scheme.trim()
        };
        if scheme.eq_ignore_ascii_case("basic") {
            return Err(Problem::new(
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
            ));
        }
        let credentials = secret(self.credentials, self.credentials_file, context);
        Ok(Auth::Authorization {
            scheme: scheme.to_owned(),
            credentials: credentials.unwrap_or(SecretSource::Inline(Secret::default())),
        })
    }
}

// === impl OAuth2 ===

impl OAuth2 {
    /// Rejects the keys of the grant that signs a token with a certificate.
    fn refuse_unsupported(&self) -> Result<(), Problem> {
        const CLIENT_CREDENTIALS: [&str; 2] = ["", "client_credentials"];
        refuse_references([("client_secret_ref", self.client_secret_ref.is_some())])?;
        let grant = self.grant_type.as_deref().unwrap_or_default();
        refuse(
            "only the grant client_credentials is, use client_secret or client_secret_file",
            [
                ("grant_type", !CLIENT_CREDENTIALS.contains(&grant)),
                (
                    "client_certificate_key_id",
                    self.client_certificate_key_id.is_some(),
                ),
                (
                    "client_certificate_key",
                    self.client_certificate_key.is_some(),
                ),
                (
                    "client_certificate_key_file",
                    self.client_certificate_key_file.is_some(),
                ),
                (
                    "client_certificate_key_ref",
                    self.client_certificate_key_ref.is_some(),
                ),
                ("signature_algorithm", self.signature_algorithm.is_some()),
                ("iss", self.iss.is_some()),
                ("audience", self.audience.is_some()),
                ("claims", self.claims.is_some()),
            ],
        )
    }

    fn build(self, context: Context<'_>) -> Result<Auth, Problem> {
        self.refuse_unsupported()?;
        at_most_one(
            &self.client_secret,
            &self.client_secret_file,
            "oauth2: client_secret & client_secret_file",
        )?;
        let proxy = Proxy {
            proxy_url: self.proxy_url,
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header,
        };
        let client_id = self.client_id.filter(|id| !id.is_empty());
        let endpoint_params = self.endpoint_params.unwrap_or_default().into_iter();
        Ok(Auth::OAuth2(Box::new(OAuth2Config {
            client_id: client_id
                .ok_or_else(|| Problem::new("oauth2: client_id must be configured"))?,
            // A public client has no secret.
            client_secret: secret(self.client_secret, self.client_secret_file, context)
                .unwrap_or(SecretSource::Inline(Secret::default())),
            scopes: self.scopes.unwrap_or_default(),
            token_url: self
                .token_url
                .ok_or_else(|| Problem::new("oauth2: token_url must be configured"))?
                .0,
            endpoint_params: endpoint_params
                .map(|(k, v)| (k, vec![v]))
                .collect::<Params>(),
            tls: self.tls_config.unwrap_or_default().build(context)?,
            proxy: proxy.build()?,
        })))
    }
}

// === impl Header ===

impl Header {
    fn build(
        self,
        name: String,
        context: Context<'_>,
    ) -> Result<(String, Vec<SecretSource>), Problem> {
        let lower = name.to_ascii_lowercase();
        if RESERVED_HEADERS.contains(&lower.as_str()) {
            return Err(Problem::new(format!(
                "setting header {name:?} is not allowed"
            )));
        }
        if name.parse::<http::HeaderName>().is_err() {
            return Err(Problem::new(format!("{name:?} is not a header name")));
        }
        let inline = self.values.into_iter().flatten().map(Secret::new);
        let secrets = self.secrets.into_iter().flatten().map(|secret| secret.0);
        let files = self.files.into_iter().flatten();
        let values = inline
            .chain(secrets)
            .map(SecretSource::Inline)
            .chain(files.map(|file| SecretSource::File(context.path(file))))
            .collect();
        Ok((name, values))
    }
}
