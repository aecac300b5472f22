//! Verifies AWS Signature Version 4.
//!
//! This code follows the specification and shares nothing with the code that signs. A bug
//! in the signer therefore cannot hide.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Digest, Sha256};

/// Maximum difference between the time of the signature and now, in seconds.
const MAX_SKEW_S: i64 = 300;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Credentials that the verifier trusts, and their scope.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Access key ID.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Session token. If set, every request must carry it.
    pub session_token: Option<String>,
    /// Region of the signature's scope.
    pub region: String,
    /// Service of the signature's scope.
    pub service: String,
}

/// Reason why a request is not trusted. The response is 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignatureError(String);

/// Parts of a request that the signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path as received.
    pub path: &'a str,
    /// Query as received, without the question mark.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Request body.
    pub body: &'a [u8],
}

// === impl Keys ===

impl Keys {
    /// Example keys of the AWS documentation.
    pub fn example() -> Self {
        Self {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            region: "us-east-1".to_owned(),
            service: "aps".to_owned(),
        }
    }
}

/// Verifies a request that arrived at `now_s`, in seconds since the Unix epoch.
///
/// # Errors
/// Returns an error with the expected value if the request is not signed with these keys.
pub fn verify(keys: &Keys, request: Signed<'_>, now_s: i64) -> Result<(), SignatureError> {
    let header = |name: &str| text(request.headers, name);
    let authorization =
        header("authorization").ok_or_else(|| error("Missing Authentication Token"))?;
    let parts = Authorization::parse(authorization)?;
    let date = header("x-amz-date").ok_or_else(|| error("x-amz-date is missing"))?;
    let signed_at = seconds(date).ok_or_else(|| error("x-amz-date is not a timestamp"))?;
    if (now_s - signed_at).abs() > MAX_SKEW_S {
        return Err(error(&format!(
            "Signature expired: {date} is not within 5 minutes of now"
        )));
    }
    let scope = format!(
        "{}/{}/{}/aws4_request",
        &date[..8],
        keys.region,
        keys.service
    );
    if parts.credential != format!("{}/{scope}", keys.access_key) {
        return Err(error(&format!(
            "Credential is {}, expected {}/{scope}",
            parts.credential, keys.access_key
        )));
    }
    if header("x-amz-security-token") != keys.session_token.as_deref() {
        return Err(error(
            "The security token included in the request is invalid",
        ));
    }
    let payload = hex::encode(Sha256::digest(request.body));
    if header("x-amz-content-sha256").is_some_and(|claimed| claimed != payload) {
        return Err(error("x-amz-content-sha256 is not the body's hash"));
    }
    let canonical = canonical_request(request, &parts, &payload)?;
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    let expected = hex::encode(mac(&signing_key(keys, &date[..8]), &to_sign));
    if expected != parts.signature {
        return Err(error(&format!(
            "The request signature we calculated does not match the signature you provided. The Canonical String for this request should have been\n'{canonical}'"
        )));
    }
    Ok(())
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

// === impl Authorization ===

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, SignatureError> {
        let rest = text
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| error("the algorithm is not AWS4-HMAC-SHA256"))?;
        let part = |name: &str| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| error(&format!("Authorization has no {name}")))
        };
        Ok(Self {
            credential: part("Credential")?,
            signed_headers: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }
}

fn canonical_request(
    request: Signed<'_>,
    parts: &Authorization<'_>,
    payload: &str,
) -> Result<String, SignatureError> {
    let names: Vec<_> = parts.signed_headers.split(';').collect();
    if !names.is_sorted() {
        return Err(error("SignedHeaders are not sorted"));
    }
    let unsigned = request.headers.keys().find(|name| {
        let required = *name == "host" || name.as_str().starts_with("x-amz-");
        required && !names.contains(&name.as_str())
    });
    if let Some(name) = unsigned {
        return Err(error(&format!("header {name} is not signed")));
    }
    let mut headers = String::new();
    for name in &names {
        let values: Vec<_> = request
            .headers
            .get_all(*name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        if values.is_empty() {
            return Err(error(&format!("signed header {name} is missing")));
        }
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let mut query: Vec<_> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .collect();
    query.sort_unstable();
    Ok([
        request.method,
        &encode_path(request.path),
        &query.join("&"),
        &headers,
        parts.signed_headers,
        payload,
    ]
    .join("\n"))
}

/// Percent-encodes a path once more, as all services except S3 require.
fn encode_path(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(byte as char);
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn signing_key(keys: &Keys, day: &str) -> Vec<u8> {
    let secret = format!("AWS4{}", keys.secret_key);
    [day, &keys.region, &keys.service, "aws4_request"]
        .into_iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Parses a time such as `20231114T221320Z` into seconds since the Unix epoch.
fn seconds(date: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    if date.len() != 16 || &date[8..9] != "T" || &date[15..] != "Z" {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    // Days since 1970-01-01. Years begin in March, so that the leap day comes last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    Some(days * 86_400 + digits(9..11)? * 3600 + digits(11..13)? * 60 + digits(13..15)?)
}

fn error(message: &str) -> SignatureError {
    SignatureError(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"\x05\x10hello";

    /// Headers of a remote-write request that botocore 1.43 signed at 1700000000.
    fn signed_by_botocore() -> (Keys, HeaderMap) {
        let keys = Keys {
            session_token: Some("TOKEN".to_owned()),
            ..Keys::example()
        };
        let headers = [
            ("host", "aps-workspaces.us-east-1.amazonaws.com"),
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            (
                "x-amz-content-sha256",
                "466a8b95d3ceec7851321c77f7413a024c71764d62d9e4cb379a23d29f44894c",
            ),
            ("x-amz-date", "20231114T221320Z"),
            ("x-amz-security-token", "TOKEN"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/us-east-1/aps/aws4_request, \
                 SignedHeaders=content-encoding;content-type;host;x-amz-content-sha256;x-amz-date;\
                 x-amz-security-token;x-prometheus-remote-write-version, \
                 Signature=eb7031157d6dcab48c64c0b304831d2f300682b838ecbea9f7a0fd8c103dca1e",
            ),
        ];
        let pairs = headers
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        (keys, pairs.into_iter().collect())
    }

    fn check(keys: &Keys, headers: &HeaderMap, body: &[u8], now_s: i64) -> Result<(), String> {
        let path = "/workspaces/ws-1/api/v1/remote_write";
        let request = Signed {
            method: "POST",
            path,
            query: "",
            headers,
            body,
        };
        verify(keys, request, now_s).map_err(|error| error.to_string())
    }

    #[test]
    fn accepts_a_signature_of_botocore() {
        let (keys, headers) = signed_by_botocore();
        assert_eq!(check(&keys, &headers, BODY, 1_700_000_000), Ok(()));
        assert_eq!(check(&keys, &headers, BODY, 1_700_000_299), Ok(()));
    }

    #[test]
    fn rejects_a_changed_request() {
        let (keys, headers) = signed_by_botocore();
        let rejection = |keys: &Keys, headers: &HeaderMap, body: &[u8], now_s| {
            check(keys, headers, body, now_s).unwrap_err()
        };
        let now = 1_700_000_000;
        assert!(rejection(&keys, &headers, b"other", now).contains("not the body's hash"));
        assert!(rejection(&keys, &headers, BODY, now + 301).contains("Signature expired"));
        let other = Keys {
            secret_key: "other".to_owned(),
            ..keys.clone()
        };
        assert!(rejection(&other, &headers, BODY, now).contains("does not match"));
        let other = Keys {
            region: "eu-west-1".to_owned(),
            ..keys.clone()
        };
        assert!(
            rejection(&other, &headers, BODY, now)
                .contains("expected AKIDEXAMPLE/20231114/eu-west-1")
        );
        for (name, value) in [
            ("x-prometheus-remote-write-version", "0.2.0"),
            ("host", "elsewhere"),
            ("x-amz-unsigned", "x"),
            ("x-amz-security-token", "STOLEN"),
        ] {
            let mut changed = headers.clone();
            changed.insert(name, value.parse().unwrap());
            assert!(check(&keys, &changed, BODY, now).is_err(), "{name}");
        }
    }

    #[test]
    fn parses_timestamps() {
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20231114T221320Z"), Some(1_700_000_000));
        assert_eq!(seconds("20240229T000000Z"), Some(1_709_164_800));
        assert_eq!(seconds("2023-11-14"), None);
    }

    #[test]
    fn rejects_an_unsigned_request() {
        let result = check(&Keys::example(), &HeaderMap::new(), b"", 0);
        assert_eq!(result, Err("Missing Authentication Token".to_owned()));
    }
}
