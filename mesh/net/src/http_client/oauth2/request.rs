//! Builds the token request, byte for byte as Go's `clientcredentials` does.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use mesh_model::config::http::OAuth2Config;
use url::form_urlencoded::byte_serialize;

use crate::http_client::Replayable;

/// Place of the client's credentials in a token request (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialsIn {
    /// HTTP Basic, which every server has to support.
    Header,
    /// Form parameters.
    Body,
}

const USER_AGENT_VALUE: &str = concat!("promesh/", env!("CARGO_PKG_VERSION"));

/// Returns the request for a token.
///
/// # Errors
/// Returns an error if `endpoint_params` repeats a parameter, or if the URL is invalid.
pub(super) fn token_request(
    config: &OAuth2Config,
    place: CredentialsIn,
    secret: &str,
) -> Result<Request<Bytes>, String> {
    let request = Request::post(config.token_url.as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, USER_AGENT_VALUE)
        // A second token does no harm.
        .extension(Replayable);
    let scope = config.scopes.join(" ");
    let mut form = parameters(config, &scope)?;
    let request = match place {
        CredentialsIn::Header => {
            let pair = format!("{}:{}", escape(&config.client_id), escape(secret));
            let credentials = format!("Basic {}", BASE64_STANDARD.encode(pair));
            request.header(AUTHORIZATION, credentials)
        }
        CredentialsIn::Body => {
            form.insert("client_id", vec![&config.client_id]);
            if !secret.is_empty() {
                form.insert("client_secret", vec![secret]);
            }
            request
        }
    };
    let request = request.body(encode(&form).into());
    request.map_err(|error| error.to_string())
}

/// Form parameters by name.
type Form<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn parameters<'a>(config: &'a OAuth2Config, scope: &'a str) -> Result<Form<'a>, String> {
    let mut form = Form::from([("grant_type", vec!["client_credentials"])]);
    if !scope.is_empty() {
        form.insert("scope", vec![scope]);
    }
    for (name, values) in &config.endpoint_params {
        // Some servers need another grant type.
        if form.contains_key(name.as_str()) && name != "grant_type" {
            return Err(format!(
                "endpoint_params: {name} is set by another key; remove it from endpoint_params"
            ));
        }
        form.insert(name, values.iter().map(String::as_str).collect());
    }
    Ok(form)
}

fn encode(form: &Form<'_>) -> String {
    let pairs = form.iter().flat_map(|(name, values)| {
        values
            .iter()
            .map(move |value| format!("{}={}", escape(name), escape(value)))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Escapes a parameter as Go's `url.QueryEscape`, which differs from the URL standard in `*`
/// and `~`.
fn escape(text: &str) -> String {
    let escaped: String = byte_serialize(text.as_bytes()).collect();
    escaped.replace('*', "%2A").replace("%7E", "~")
}

#[cfg(test)]
mod tests {
    use mesh_model::config::{Secret, http::SecretSource};

    use super::*;

    fn config() -> OAuth2Config {
        OAuth2Config {
            client_id: "i:d/%@".to_owned(),
            client_secret: SecretSource::Inline(Secret::default()),
            scopes: vec!["a".to_owned(), "b*~".to_owned()],
            token_url: "http://h/token".parse().unwrap(),
            endpoint_params: [("audience".to_owned(), vec!["x y".to_owned()])].into(),
            tls: Default::default(),
            proxy: Default::default(),
        }
    }

    fn body(config: &OAuth2Config, place: CredentialsIn, secret: &str) -> String {
        let request = token_request(config, place, secret).unwrap();
        String::from_utf8(request.into_body().to_vec()).unwrap()
    }

    #[test]
    fn sends_the_credentials_escaped_in_the_header_or_in_the_body() {
        let request = token_request(&config(), CredentialsIn::Header, "s ü").unwrap();
        let pair = BASE64_STANDARD.encode("i%3Ad%2F%25%40:s+%C3%BC");
        assert_eq!(request.headers()[AUTHORIZATION], format!("Basic {pair}"));
        let common = "grant_type=client_credentials&scope=a+b%2A~";
        assert_eq!(
            body(&config(), CredentialsIn::Header, "s"),
            format!("audience=x+y&{common}")
        );
        assert_eq!(
            body(&config(), CredentialsIn::Body, "s"),
            format!("audience=x+y&client_id=i%3Ad%2F%25%40&client_secret=s&{common}")
        );
        let without = body(&config(), CredentialsIn::Body, "");
        assert!(!without.contains("client_secret"), "{without}");
    }

    #[test]
    fn replaces_the_grant_type_and_no_other_parameter() {
        let mut config = config();
        let mut set = |name: &str| {
            config.endpoint_params = [(name.to_owned(), vec!["x".to_owned()])].into();
            token_request(&config, CredentialsIn::Body, "s").map(Request::into_body)
        };
        let custom = set("grant_type").unwrap();
        assert!(custom.windows(12).any(|part| part == b"grant_type=x"));
        assert!(set("scope").unwrap_err().contains("scope"));
    }
}
