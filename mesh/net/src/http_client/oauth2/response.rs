//! Reads the answer of a token endpoint as Go's `oauth2` does: JSON or a form.

use std::{collections::HashMap, time::Duration};

use serde_json::{Map, Value};

/// Answer of a token endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TokenResponse {
    access_token: String,
    token_type: String,
    /// Lifetime in seconds; 0 if the token does not expire.
    expires_in: i64,
    error: String,
    error_description: String,
}

// === impl TokenResponse ===

impl TokenResponse {
    /// Parses a body of this content type.
    ///
    /// # Errors
    /// Returns an error if the body cannot be parsed.
    pub(super) fn parse(content_type: &str, body: &[u8]) -> Result<Self, String> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let forms = ["application/x-www-form-urlencoded", "text/plain"];
        if forms.iter().any(|form| kind.eq_ignore_ascii_case(form)) {
            return Ok(Self::from_form(body));
        }
        let fields: Map<String, Value> =
            serde_json::from_slice(body).map_err(|error| format!("invalid answer: {error}"))?;
        Self::from_json(&fields)
    }

    fn from_form(body: &[u8]) -> Self {
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            fields.entry(name).or_insert(value);
        }
        let text = |name: &str| fields.get(name).map_or("", |value| value).to_owned();
        Self {
            access_token: text("access_token"),
            token_type: text("token_type"),
            expires_in: text("expires_in").parse().unwrap_or(0),
            error: text("error"),
            error_description: text("error_description"),
        }
    }

    fn from_json(fields: &Map<String, Value>) -> Result<Self, String> {
        // Go matches names in any letter case.
        let field = |name: &str| {
            let same = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
            let exact = fields.get(name);
            exact.or_else(|| fields.iter().find(same).map(|(_, value)| value))
        };
        let text = |name: &str| match field(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!("invalid answer: {name} is {other}, expected text")),
        };
        let seconds = match field("expires_in") {
            None | Some(Value::Null) => Some(0),
            Some(Value::Number(number)) => number.as_i64(),
            // Azure AD sends the number as text.
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        Ok(Self {
            access_token: text("access_token")?,
            token_type: text("token_type")?,
            expires_in: seconds.ok_or("invalid answer: expires_in is not a whole number")?,
            error: text("error")?,
            error_description: text("error_description")?,
        })
    }

    /// Returns the answer itself if it has a token.
    ///
    /// # Errors
    /// Returns an error if the answer has an error code or no token.
    pub(super) fn into_success(self) -> Result<Self, String> {
        match self.error() {
            Some(error) => Err(error),
            None if self.access_token.is_empty() => {
                Err("the answer has no access_token".to_owned())
            }
            None => Ok(self),
        }
    }

    /// Returns the error code and its description (RFC 6749, section 5.2), if any.
    pub(super) fn error(&self) -> Option<String> {
        let code = Some(&self.error).filter(|code| !code.is_empty())?;
        Some(match self.error_description.as_str() {
            "" => format!("error {code:?}"),
            description => format!("error {code:?}: {description}"),
        })
    }

    /// Value of the `Authorization` header with this token.
    pub(super) fn authorization(&self) -> String {
        let mut known = ["Bearer", "MAC", "Basic"].into_iter();
        let scheme = match self.token_type.as_str() {
            "" => "Bearer",
            given => known
                .find(|name| name.eq_ignore_ascii_case(given))
                .unwrap_or(given),
        };
        format!("{scheme} {}", self.access_token)
    }

    /// Lifetime of the token; `None` if it does not expire.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let seconds = self.expires_in.min(i64::from(i32::MAX));
        (seconds != 0).then(|| Duration::from_secs(seconds.try_into().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

    fn parse(kind: &str, body: &str) -> Result<(String, Option<u64>), String> {
        let answer = TokenResponse::parse(kind, body.as_bytes());
        let answer = answer.and_then(TokenResponse::into_success)?;
        let lifetime = answer.lifetime().map(|lifetime| lifetime.as_secs());
        Ok((answer.authorization(), lifetime))
    }

    #[test]
    fn reads_json_and_forms() {
        for (kind, body, scheme, lifetime) in [
            (JSON, r#"{"access_token": "t"}"#, "Bearer", None),
            (
                "",
                r#"{"access_token": "t", "expires_in": null}"#,
                "Bearer",
                None,
            ),
            (
                JSON,
                r#"{"Access_Token": "t", "expires_in": "3600"}"#,
                "Bearer",
                Some(3600),
            ),
            (
                JSON,
                r#"{"access_token": "t", "token_type": "mac", "expires_in": 0}"#,
                "MAC",
                None,
            ),
            (
                JSON,
                r#"{"access_token": "t", "token_type": "X", "expires_in": -1}"#,
                "X",
                Some(0),
            ),
            (
                FORM,
                "access_token=t&token_type=bearer&expires_in=60",
                "Bearer",
                Some(60),
            ),
            (
                "text/plain",
                "access_token=t&expires_in=never",
                "Bearer",
                None,
            ),
        ] {
            let expected = (format!("{scheme} t"), lifetime);
            assert_eq!(parse(kind, body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn refuses_an_answer_without_a_token() {
        for (kind, body, expected) in [
            (JSON, "{}", "no access_token"),
            (JSON, "access_token=t", "invalid answer"),
            (
                JSON,
                r#"{"access_token": "t", "expires_in": 1.5}"#,
                "expires_in",
            ),
            (JSON, r#"{"access_token": 1}"#, "access_token is 1"),
            (
                JSON,
                r#"{"access_token": "t", "error": "e"}"#,
                r#"error "e""#,
            ),
            (FORM, "error=e&error_description=d", r#"error "e": d"#),
        ] {
            let error = parse(kind, body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
