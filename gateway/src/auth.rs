//! Authenticates clients by bearer tokens from a file.

use std::{fmt, path::PathBuf};

use http::{HeaderMap, header::AUTHORIZATION};
use mesh_base::watched_file::WatchedFile;
use subtle::{Choice, ConstantTimeEq};

use crate::push_error::PushError;

/// Flags for authentication.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthArgs {
    /// File with the bearer tokens of clients, one per line. The gateway re-reads it after
    /// a change. To rotate a token, list the old and the new one for a while. Without this
    /// flag the gateway accepts every client.
    #[arg(
        long = "auth.bearer-token-file",
        env = "PROMESH_AUTH_BEARER_TOKEN_FILE"
    )]
    pub bearer_token_file: Option<PathBuf>,
}

/// Checks the bearer token of requests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authenticator(Option<WatchedFile<Tokens>>);

/// Tokens of a file. Their `Debug` output shows only how many there are.
pub(crate) struct Tokens(Vec<String>);

/// Error in the file of tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("--auth.bearer-token-file={path}: {source}")]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the read.
        source: std::io::Error,
    },
    /// The file has no token. The gateway would reject every client.
    #[error("--auth.bearer-token-file={0}: no token, expected one per line")]
    Empty(PathBuf),
}

// === impl AuthArgs ===

impl AuthArgs {
    /// Builds the authenticator and starts to watch the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or has no token.
    pub(crate) fn build(&self) -> Result<Authenticator, TokensError> {
        let Some(path) = self.bearer_token_file.clone() else {
            return Ok(Authenticator(None));
        };
        let files = vec![path.clone()];
        let tokens = WatchedFile::watch("bearer tokens", files, move || Tokens::read(&path))?;
        Ok(Authenticator(Some(tokens)))
    }
}

// === impl Authenticator ===

impl Authenticator {
    /// Checks the `Authorization` header of a request.
    ///
    /// # Errors
    /// Returns [`PushError::Unauthenticated`] if the header has no known token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), PushError> {
        let Some(tokens) = &self.0 else {
            return Ok(());
        };
        let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let header = header.ok_or(PushError::Unauthenticated(
            "no Authorization header; send a bearer token",
        ))?;
        match header.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                if tokens.load().contains(token.trim_ascii()) {
                    Ok(())
                } else {
                    Err(PushError::Unauthenticated("unknown bearer token"))
                }
            }
            _ => Err(PushError::Unauthenticated(
                "Authorization header without a bearer token",
            )),
        }
    }

    /// Token that this gateway sends to other gateways, which share the file's tokens.
    pub(crate) fn own_token(&self) -> Option<String> {
        let tokens = self.0.as_ref()?.load();
        tokens.0.first().cloned()
    }
}

// === impl Tokens ===

impl Tokens {
    fn read(path: &PathBuf) -> Result<Self, TokensError> {
        let text = std::fs::read_to_string(path).map_err(|source| TokensError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let tokens = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens: Vec<_> = tokens.map(str::to_owned).collect();
        if tokens.is_empty() {
            Err(TokensError::Empty(path.clone()))
        } else {
            Ok(Self(tokens))
        }
    }

    /// Compares with every token in constant time, so that timing reveals no token.
    fn contains(&self, candidate: &[u8]) -> bool {
        let equal = |token: &String| token.as_bytes().ct_eq(candidate);
        let any = self.0.iter().map(equal).fold(Choice::from(0), |a, b| a | b);
        any.into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn auth(text: &str) -> (Result<Authenticator, TokensError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        let args = AuthArgs {
            bearer_token_file: Some(path),
        };
        (args.build(), folder)
    }

    #[tokio::test]
    async fn accepts_only_known_tokens() {
        let (auth, _folder) = auth("first\n\n  second  \n");
        let auth = auth.unwrap();
        let check = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            auth.check(&headers).is_ok()
        };
        for right in ["Bearer first", "bearer second", "BEARER first "] {
            assert!(check(Some(right)), "{right}");
        }
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer firs",
            "Bearer firstt",
            "Basic first",
            "first",
            "",
        ] {
            assert!(!check(Some(wrong)), "{wrong}");
        }
        assert!(!check(None));
        assert!(Authenticator::default().check(&HeaderMap::new()).is_ok());
    }

    #[tokio::test]
    async fn rejects_a_file_without_tokens() {
        let (auth, _folder) = auth(" \n\n");
        let error = auth.unwrap_err().to_string();
        assert!(error.contains("no token, expected one per line"), "{error}");
    }
}
